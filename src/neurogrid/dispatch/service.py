"""The dispatcher of one gateway: claims for the free slots of its nodes, and hands tasks to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import orjson
import structlog

from neurogrid.core.background import Background
from neurogrid.core.errors import Unavailable
from neurogrid.core.settings import GridSettings
from neurogrid.dispatch.assignments import Assignments, at_once
from neurogrid.dispatch.connection import NodeConnection, Running
from neurogrid.dispatch.fairness import FairClock
from neurogrid.dispatch.lanes import Lanes
from neurogrid.dispatch.policy import LaneSpec, choose
from neurogrid.events.bus import Bus
from neurogrid.events.states import StateEvents
from neurogrid.protocol.events import Event
from neurogrid.protocol.messages import Cancel, Usage
from neurogrid.queue.answers import Admitted, Canceled, Claimed, Expired, Heirs, Inserted, Requeued
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Bill, Guard, Insert, Requeue, SessionRef, Want
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.upkeep import Upkeep

log = structlog.get_logger(__name__)

WAKE = "wake"
CONTROL = "control"
WAKE_INTERVAL = 0.02
CLAIM_LIMIT = 256
"""Slots one round of claims asks for at most."""
BILL_WAIT = 1.0

Used = Callable[[str, int], Coroutine[Any, Any, None]]
"""Takes a task that is over, and the tokens it used."""


class Dispatcher:
    """Knows the connected nodes and keeps their slots busy."""

    def __init__(
        self, journal: Journal, upkeep: Upkeep, bus: Bus, states: StateEvents, settings: GridSettings
    ) -> None:
        """Claim through ``journal``; tell the world through ``states``."""
        self.journal = journal
        self.upkeep = upkeep
        self.states = states
        self.settings = settings
        self.background = Background()
        self.lanes = Lanes(upkeep)
        self.clock = FairClock()
        self.connections: dict[str, NodeConnection] = {}
        self.assignments = Assignments(
            self.connections,
            upkeep,
            self.background,
            settings.lease,
            hand_back=self.hand_back,
            poke=self.poke,
        )
        self.on_node: Callable[[str, NodeConnection], None] | None = None
        """Told of a node that came (``node.connected``) or went (``node.left``)."""
        self.on_used: Used | None = None
        """Told how many tokens a generation used that is over."""
        self._bus = bus
        self._work = asyncio.Event()
        self._woken: set[str] = set()
        bus.snapshots = self._snapshot

    # --- what the tasks feature asks for ------------------------------------------------------

    async def lane(self, model: str, requires: dict[str, str]) -> str:
        """Return the lane of tasks for ``model`` that require these labels."""
        return await self.lanes.lane(model, requires)

    def price(self, owner: str, lane: str, priority: int, cost: float) -> tuple[float, float]:
        """Return what a task costs its owner after corrections, and the virtual time of its queue (R17)."""
        return self.clock.price(owner, lane, priority, cost)

    def present(self, lane: str, priority: int) -> float:
        """Return the virtual time of a lane and class (R17)."""
        return self.clock.present(lane, priority)

    def reserve(self, lane: str) -> SessionRef | None:
        """Hold a free slot for a task about to be inserted, unless others wait for it already (R17)."""
        if self.lanes.is_hot(lane):
            return None
        spec = self.lanes.spec(lane)
        connection = choose(self.connections.values(), spec)
        if connection is None:
            return None
        connection.reserve(spec.model)
        return connection.session

    def inserted(self, op: Insert, answer: Inserted | None) -> None:
        """Take up a task after its commit: send it to its node, or see that it is claimed."""
        connection = self._release(op.session, op.lane) if op.session is not None else None
        if answer is None or answer.status is Status.WAITING:
            # Charged nothing, nor for what was before (R19, R20).
            self.clock.give_back(op.owner, op.lane, op.priority, op.corrected)
            return
        if answer.status is Status.RUNNING and op.session is not None:
            self.clock.served(op.lane, op.priority, answer.rank)
            self.assignments.begin(connection, at_once(op, answer, op.session), time.monotonic())
        else:
            self.arrived(op.lane)

    async def stopped(self, answer: Canceled | Expired) -> None:
        """Stop a task that was cancelled or missed its deadline here, or tell whoever runs it."""
        self.inherit(answer.heirs)
        attempt = answer.attempt - 1
        if not await self.stop(answer.task, attempt) and answer.session is not None:
            payload = {"type": "cancel", "task": answer.task, "attempt": attempt}
            await self._bus.send(CONTROL, orjson.dumps(payload))

    async def stop(self, task: str, attempt: int) -> bool:
        """Stop an attempt whose task is over; ``True`` if a node of this gateway was told."""
        for connection in list(self.connections.values()):
            running = connection.running.get(task)
            if running is not None and running.attempt == attempt:
                connection.end(running)
                self.poke()
                told = await connection.send(Cancel(task, attempt))
                # So that whoever cancelled sees the bill at once; without database it waits in the journal.
                await asyncio.wait({self.bill(running)}, timeout=BILL_WAIT)
                return told
        return False

    def bill(self, running: Running) -> asyncio.Task[None]:
        """Record what an attempt had used if its task was ended from outside, in the background (R26)."""
        op = Bill(running.task, running.attempt + 1, running.usage)
        self.used(running.task, running.usage)
        return self.background.spawn(self._bill(op), "dispatch.bill")

    def used(self, task: str, usage: Usage) -> None:
        """Pass on what a task that is over used, in the background; only generation has completion tokens."""
        if self.on_used is not None and usage.completion_tokens:
            tokens = usage.prompt_tokens + usage.completion_tokens
            self.background.spawn(self.on_used(task, tokens), "dispatch.used")

    async def _bill(self, op: Bill) -> None:
        with contextlib.suppress(Unavailable):  # this gateway closes, and the database is away
            await self.journal.execute(op, patient=True)

    # --- hints --------------------------------------------------------------------------------

    def arrived(self, lane: str) -> None:
        """Note that a task waits in ``lane``, and wake the gateways that may have room for it."""
        self.lanes.heat(lane)
        self.poke()
        if self._bus.shared and lane not in self._woken:
            self._woken.add(lane)
            self.background.spawn(self._wake(lane), "dispatch.wake")

    async def _wake(self, lane: str) -> None:
        await asyncio.sleep(WAKE_INTERVAL)
        self._woken.discard(lane)
        await self._bus.send(WAKE, lane.encode())

    def woken(self, payload: bytes) -> None:
        """Take a hint from another gateway."""
        self.lanes.heat(payload.decode(errors="replace"))
        self.poke()

    def poke(self) -> None:
        """Look for work soon."""
        self._work.set()

    async def run(self) -> None:
        """Claim whenever there may be something to claim; runs until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            wants = self._wants()
            if not wants:
                continue
            try:
                await self._claim(wants)
            except Exception:  # the next hint or poll tries again
                log.exception("dispatch.claim_failed")

    # --- claims -------------------------------------------------------------------------------

    def _wants(self) -> list[tuple[NodeConnection, LaneSpec]]:
        """Reserve free slots for hot lanes, in turns, and return them."""
        wants: list[tuple[NodeConnection, LaneSpec]] = []
        lanes = self.lanes.claimable()
        while lanes and len(wants) < CLAIM_LIMIT:
            left = []
            for spec in lanes:
                connection = choose(self.connections.values(), spec)
                if connection is not None and len(wants) < CLAIM_LIMIT:
                    connection.reserve(spec.model)
                    wants.append((connection, spec))
                    if self.lanes.is_hot(spec.lane):
                        left.append(spec)
            lanes = left
        return wants

    async def _claim(self, wants: Sequence[tuple[NodeConnection, LaneSpec]]) -> None:
        """Ask for a task for each of the slots reserved, and begin what there is."""
        started, seen = time.monotonic(), self.lanes.hints
        floors = {spec.lane: self.clock.floors(spec.lane) for _, spec in wants}
        ops = [
            Want(spec.lane, connection.session, floors[spec.lane], self.clock.aged())
            for connection, spec in wants
        ]
        try:
            answers = await self.journal.execute_all(ops, patient=True)
        finally:
            for connection, spec in wants:
                connection.unreserve(spec.model)
        for (connection, spec), answer in zip(wants, answers, strict=True):
            if isinstance(answer, Claimed):
                self._claimed(connection, answer, started)
            elif isinstance(answer, Exception):
                log.error("dispatch.claim_failed", exc_info=answer)
            else:
                self.lanes.cool(spec.lane, seen)

    def _claimed(self, connection: NodeConnection, claimed: Claimed, since: float) -> None:
        self.lanes.found(claimed.lane)
        self.clock.served(claimed.lane, claimed.priority, claimed.rank)
        self.states.claimed(claimed, connection.name)
        self.assignments.begin(connection, claimed, since)
        self.poke()

    async def hand_back(
        self, task: str, attempt: int, session: SessionRef, reason: str = "handed_back"
    ) -> None:
        """Put a task that ``session`` holds back into the queue; nothing is charged (R1, R3)."""
        await self.requeue(
            Requeue(task, attempt, Status.QUEUED, Charge.NONE, reason, guard=Guard.HELD, session=session)
        )

    async def requeue(self, op: Requeue) -> Requeued | None:
        """Move a task back to the queue, tell the world, and see that it is claimed."""
        answer = await self.journal.execute(op, patient=True)
        if answer is not None:
            self.requeued(answer)
            self.inherit(answer.heirs)
        return answer

    def requeued(self, answer: Requeued) -> None:
        """Tell the world of a task that is tried again, and see that it is claimed."""
        self.states.requeued(answer)
        if answer.status is Status.QUEUED:
            self.arrived(answer.lane)

    def inherit(self, heirs: Heirs) -> None:
        """Take up the task that leads now that another one, whose execution it shared, is over (R20)."""
        if heirs.leader is not None:
            self.requeued(heirs.leader)

    def admitted(self, admitted: Admitted) -> None:
        """See that tasks are claimed that had to wait for others of their owner's (LIM-3)."""
        for lane in admitted.lanes:
            self.arrived(lane)

    def _release(self, session: SessionRef, lane: str) -> NodeConnection | None:
        connection = self.connections.get(session.id)
        if connection is None or connection.session.gen != session.gen:
            return None
        connection.unreserve(self.lanes.spec(lane).model)
        return connection

    # --- snapshots ----------------------------------------------------------------------------

    def _snapshot(self, task: str) -> Event | None:
        for connection in self.connections.values():
            running = connection.running.get(task)
            if running is not None:
                return running.snapshot()
        return None

    async def control(self, message: dict[str, object]) -> None:
        """Do what another gateway asks for: stop a task, or publish its snapshot."""
        task = message.get("task")
        if not isinstance(task, str):
            return
        if message.get("type") == "cancel" and isinstance(attempt := message.get("attempt"), int):
            await self.stop(task, attempt)
        elif message.get("type") == "snapshot" and (event := self._snapshot(task)) is not None:
            self.states.publish(event)

    def listen_control(self, payload: bytes) -> None:
        """Take a control message from the bus."""
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return
        if isinstance(message, dict):
            self.background.spawn(self.control(message), "dispatch.control")
