"""The rounds a gateway makes: reconcile, sweep, expire, promote, poll (R4, R5, R7, R18)."""

from __future__ import annotations

import asyncio
import time

import structlog

from neurogrid.dispatch.connection import CLOSE_SESSION_LOST, NodeConnection, Running
from neurogrid.dispatch.contact import Contact
from neurogrid.dispatch.service import Dispatcher
from neurogrid.protocol.messages import Release
from neurogrid.queue.ops import Admit, Evict, Expire, Guard, Requeue, SessionRef, Settle
from neurogrid.queue.policy import Charge, RetryPolicy
from neurogrid.queue.upkeep import Held

log = structlog.get_logger(__name__)

UNKNOWN_FOR = 2.0
"""Seconds after which a task held in the database but unknown here is handed back (R7)."""
SETTLED_FOR = 1.0
"""Seconds after which a task known here must be held in the database (R7)."""


class Watch:
    """Compares belief with truth, and takes back what is lost."""

    def __init__(self, dispatcher: Dispatcher, policy: RetryPolicy) -> None:
        """Watch over ``dispatcher``."""
        self._dispatcher = dispatcher
        self._policy = policy
        self._unknown: dict[tuple[str, int], float] = {}
        self._contact = Contact(dispatcher.settings.lease)
        self._listened_at = time.monotonic()

    async def reconcile(self) -> None:
        """Compare what the sessions of this gateway run, in memory and in the database (R7)."""
        connections = dict(self._dispatcher.connections)
        began = time.monotonic()
        held = await self._dispatcher.upkeep.held(list(connections))
        self._contact.note()
        by_session: dict[str, dict[tuple[str, int], Held]] = {session: {} for session in connections}
        for task in held:
            by_session[task.session][task.task, task.attempt] = task
        unknown: dict[tuple[str, int], float] = {}
        for session, connection in connections.items():
            await self._release_lost(connection, by_session[session], began)
            for key, task in by_session[session].items():
                if not self._known(connection, key):
                    unknown[key] = self._unknown.get(key, began)
                    if began - unknown[key] >= UNKNOWN_FOR:
                        await self._hand_back(connection, task)
        self._unknown = unknown
        self._forget_gone(connections)

    def _known(self, connection: NodeConnection, key: tuple[str, int]) -> bool:
        running = connection.running.get(key[0])
        if key in connection.settling:
            return True
        return running is not None and running.attempt == key[1]

    async def _release_lost(
        self, connection: NodeConnection, held: dict[tuple[str, int], Held], began: float
    ) -> None:
        for running in list(connection.running.values()):
            if running.key not in held and began - running.since > SETTLED_FOR:
                connection.end(running)
                log.info("task.released", task=running.task, attempt=running.attempt, node=connection.name)
                self._dispatcher.bill(running)
                await connection.send(Release(running.task, running.attempt))

    async def _hand_back(self, connection: NodeConnection, task: Held) -> None:
        if not connection.connected:
            return  # the node may come back with it; the lease decides
        await self._dispatcher.hand_back(task.task, task.attempt, connection.session)

    def _forget_gone(self, connections: dict[str, NodeConnection]) -> None:
        """Drop connections that closed and whose node did not come back within a lease."""
        now = time.monotonic()
        current = self._dispatcher.connections
        for session, connection in connections.items():
            if connection.connected or current.get(session) is not connection:
                continue
            if connection.left_at is None:
                connection.left_at = now
            elif now - connection.left_at > self._dispatcher.settings.lease:
                del current[session]

    async def silence(self) -> None:
        """Take tasks away from nodes that show no progress on them (R5), and hang up on silent nodes."""
        now = time.monotonic()
        lease = self._dispatcher.settings.lease
        slept, self._listened_at = now - self._listened_at > lease / 2, now
        for connection in list(self._dispatcher.connections.values()):
            if slept:  # this gateway did, not its nodes: what they said meanwhile is still to be read
                connection.heard_at = now
                for running in connection.running.values():
                    running.sign()
            elif connection.connected and now - connection.heard_at > lease:
                log.warning("node.silent", node=connection.name, session=connection.session.id)
                await connection.hang_up(CLOSE_SESSION_LOST, "no heartbeat within the lease")
            elif connection.connected:
                await self._check_progress(connection, now)

    async def _check_progress(self, connection: NodeConnection, now: float) -> None:
        for running in list(connection.running.values()):
            if now - running.sign_at > connection.silence_allowed(running.model):
                await self._take_away(connection, running)

    async def _take_away(self, connection: NodeConnection, running: Running) -> None:
        log.warning("task.silent", task=running.task, attempt=running.attempt, node=connection.name)
        connection.end(running)
        again = self._policy.after(Charge.LOSS, running.charges)
        error = '{"code":"silent","message":"The model gave no sign of life."}' if again.dead else None
        # Guarded, since the node may speak through another gateway by now (R3).
        await self._dispatcher.requeue(
            Requeue(
                running.task,
                running.attempt,
                again.status,
                again.charge,
                "silent",
                error=error,
                guard=Guard.HELD,
                session=connection.session,
            )
        )
        await connection.send(Release(running.task, running.attempt))

    async def sweep(self) -> None:
        """Take back the tasks of sessions whose lease ran out, if this gateway may judge (R4)."""
        if not self._may_judge():
            return
        moves, sessions = await self._dispatcher.upkeep.expired()
        self._contact.note()
        if self._may_judge():  # the answer may have taken as long as an outage
            await self._evict(moves, sessions)

    async def sweep_embedded(self) -> None:
        """Take back at once what the embedded node of this process' predecessor ran (SQLite only)."""
        await self._dispatcher.upkeep.expire_embedded()
        await self._evict(*await self._dispatcher.upkeep.expired(embedded=True))

    async def _evict(self, moves: list[Requeue], sessions: list[SessionRef]) -> None:
        await self._requeue(moves)
        journal = self._dispatcher.journal
        gone = await asyncio.gather(*(journal.execute(Evict(one), patient=True) for one in sessions))
        for session, evicted in zip(sessions, gone, strict=True):
            if evicted:
                log.warning("node.session_expired", session=session.id)

    async def sweep_orphans(self) -> None:
        """Take back running tasks whose session does not exist (R4)."""
        if self._may_judge():
            await self._requeue(await self._dispatcher.upkeep.orphans())

    async def settle_followers(self) -> None:
        """Mend what is left of leaders that ended without their followers (R20)."""
        dispatcher = self._dispatcher
        for leader in await dispatcher.upkeep.unsettled():
            dispatcher.inherit(await dispatcher.journal.execute(Settle(leader), patient=True))

    async def admit_held(self) -> None:
        """Let those run that no longer have too many of their owner's beside them (LIM-3).

        Tasks that complete let others in themselves; this is for ends of every other kind, and those that crossed a
        claim.
        """
        dispatcher = self._dispatcher
        for owner in await dispatcher.upkeep.held_back():
            dispatcher.admitted(await dispatcher.journal.execute(Admit(owner), patient=True))

    async def _requeue(self, moves: list[Requeue]) -> None:
        await asyncio.gather(*(self._dispatcher.requeue(move) for move in moves))

    def _may_judge(self) -> bool:
        if not self._dispatcher.journal.connected:
            self._contact.lose()
        return self._contact.unbroken()

    async def expire(self) -> None:
        """Fail tasks whose deadline has passed, and stop those that run."""
        await asyncio.gather(*(self._expire(task) for task in await self._dispatcher.upkeep.overdue()))

    async def _expire(self, task: str) -> None:
        answer = await self._dispatcher.journal.execute(Expire(task), patient=True)
        if answer is not None:
            self._dispatcher.states.expired(answer)
            await self._dispatcher.stopped(answer)

    async def promote(self) -> None:
        """Make waiting tasks claimable whose time has come (R15)."""
        for lane in await self._dispatcher.upkeep.promote():
            self._dispatcher.arrived(lane)

    async def sync_clocks(self) -> None:
        """Share the virtual times of the lanes with the other gateways (R17)."""
        dispatcher = self._dispatcher
        dispatcher.clock.merge(await dispatcher.upkeep.sync_clocks(dispatcher.clock.take_changes()))

    async def poll(self) -> None:
        """Try a claim on every lane the connected nodes serve (R18)."""
        dispatcher = self._dispatcher
        await dispatcher.lanes.learn()
        for connection in dispatcher.connections.values():
            if connection.connected and connection.used < connection.slots:
                dispatcher.lanes.probe(connection.models)
        dispatcher.poke()
