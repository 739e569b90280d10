"""The life of a node's connection: hello, reconcile, listen, leave (R3, R6)."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog

from neurogrid.core.errors import Forbidden, GridError, Unavailable
from neurogrid.dispatch.attempts import Attempts
from neurogrid.dispatch.connection import (
    CLOSE_FAILED,
    CLOSE_FORBIDDEN,
    CLOSE_REFUSED,
    CLOSE_REPLACED,
    CLOSE_RESTART,
    CLOSE_SESSION_LOST,
    NodeConnection,
    Running,
)
from neurogrid.dispatch.outcomes import invalid_output
from neurogrid.dispatch.parting import Parting
from neurogrid.dispatch.service import Dispatcher
from neurogrid.dispatch.settlements import Settlements
from neurogrid.nodes.policy import NodeState, Scope, Standing
from neurogrid.protocol.frames import BadMessage, decode_from_node, is_array, read_from_node
from neurogrid.protocol.link import CLOSE_PROTOCOL, Link, LinkClosed
from neurogrid.protocol.messages import (
    Chunk,
    Drained,
    Error,
    FromNode,
    Heartbeat,
    Hello,
    Log,
    Metric,
    Refuse,
    Release,
    Result,
    Snapshot,
    TaskProgress,
    Welcome,
)
from neurogrid.protocol.spoilt import spoken_of
from neurogrid.queue.ops import Renew
from neurogrid.queue.upkeep import Held

log = structlog.get_logger(__name__)

HELLO_WITHIN = 10.0
MAX_REASON = 200
"""Characters shown of what is wrong with a frame."""


class Registry(Protocol):
    """Where nodes are registered."""

    async def register(self, hello: Hello, scope: Scope | None) -> Standing:
        """Record what a node says of itself; ``scope`` is that of its token. Raises ``Forbidden``, ``Invalid``."""


class NodeGate:
    """Serves one connection after another, each until it closes."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        attempts: Attempts,
        settlements: Settlements,
        registry: Registry,
        parting: Parting,
    ) -> None:
        """Attach nodes to ``dispatcher``."""
        self._dispatcher = dispatcher
        self._attempts = attempts
        self._settlements = settlements
        self._registry = registry
        self._parting = parting

    async def serve(self, link: Link, scope: Scope | None = None, *, embedded: bool = False) -> None:
        """Speak with a node until it is gone; ``scope`` is that of its token."""
        connection: NodeConnection | None = None
        try:
            connection = await self._attach(link, scope, embedded=embedded)
            while True:
                frame = await link.receive()
                connection.heard_at = time.monotonic()
                await self._hear(connection, frame)
        except LinkClosed as closed:
            log.info("node.left", node=connection and connection.name, code=closed.code)
        except BadMessage as error:
            log.warning("node.bad_message", node=connection and connection.name, error=str(error))
            await link.close(CLOSE_PROTOCOL, str(error)[:100])
        except Forbidden as error:
            log.warning("node.refused", reason=error.detail)
            await link.close(CLOSE_FORBIDDEN, error.detail)
        except GridError as error:
            await link.close(CLOSE_REFUSED, error.detail[:100])
        finally:
            if connection is not None:
                connection.leave()
                self._tell("node.left", connection)
                if connection.drained:
                    farewell = self._parting.farewell(connection)
                    self._dispatcher.background.spawn(farewell, "dispatch.farewell")
            await link.close(CLOSE_FAILED, "the gateway failed; try again")

    def _tell(self, type: str, connection: NodeConnection) -> None:
        if self._dispatcher.on_node is not None:
            self._dispatcher.on_node(type, connection)

    async def _attach(self, link: Link, scope: Scope | None, *, embedded: bool) -> NodeConnection:
        hello = await _hello(link)
        standing = await self._registry.register(hello, scope)
        dispatcher = self._dispatcher
        session = await dispatcher.upkeep.attach(standing.id, hello.name, hello.session, embedded=embedded)
        connection = NodeConnection(
            link,
            hello,
            standing.id,
            session,
            token=scope.token if scope else None,
            cordoned=standing.state is not NodeState.ACTIVE,
        )
        before = dispatcher.connections.get(session.id)
        if before is not None:
            await before.hang_up(CLOSE_REPLACED, "the node attached anew")
        settings = dispatcher.settings
        await connection.send(
            Welcome(standing.id, session.id, settings.lease, settings.heartbeat, arrays=True)
        )
        await self._reconcile(connection, hello, before)
        latest = dispatcher.connections.get(session.id)
        if latest is not None and latest.session.gen > session.gen:
            await connection.hang_up(CLOSE_REPLACED, "the node attached anew")
            raise LinkClosed(CLOSE_REPLACED)
        dispatcher.connections[session.id] = connection
        self._tell("node.connected", connection)
        log.info("node.attached", node=hello.name, session=session.id, gen=session.gen, slots=hello.slots)
        dispatcher.lanes.probe(connection.models)
        dispatcher.poke()
        return connection

    async def _reconcile(
        self, connection: NodeConnection, hello: Hello, before: NodeConnection | None
    ) -> None:
        """Settle what the node and the database believe about what it runs (R3, R6)."""
        running = {(task, attempt): seq for task, attempt, seq in hello.running}
        done = {(message.task, message.attempt) for message in hello.done}
        held = {(task.task, task.attempt): task for task in await self._held(connection)}
        for key, task in held.items():
            if key in running or key in done:
                await self._adopt(connection, task, running.get(key, 0), before)
            else:
                await self._dispatcher.hand_back(task.task, task.attempt, connection.session)
        for task_id, attempt in running:
            if (task_id, attempt) not in held:
                await connection.send(Release(task_id, attempt))
        for message in hello.done:
            self._settlements.settle(connection, message)

    async def _held(self, connection: NodeConnection) -> list[Held]:
        return await self._dispatcher.upkeep.held([connection.session.id])

    async def _adopt(
        self, connection: NodeConnection, task: Held, seq: int, before: NodeConnection | None
    ) -> None:
        """Go on with an attempt; what this gateway has not seen of it is sent again."""
        known = before.running.get(task.task) if before is not None else None
        if known is None or known.attempt != task.attempt:
            known = Running(
                task.task,
                task.attempt,
                task.owner,
                task.lane,
                task.model,
                task.charges,
                deadline=task.deadline,
            )
        known.sign()
        known.missing = 0
        connection.begin(known)
        if seq > known.last_seq:
            await self._attempts.fetch(connection, known)

    async def _hear(self, connection: NodeConnection, frame: bytes | str) -> None:
        """Take a frame. One that is no JSON because of what a model said ends that model's task, no other.

        In an array nobody can tell whose fault it is; the node sends the messages again, one by one.
        """
        try:
            messages = read_from_node(frame)
        except BadMessage as error:
            about = None if is_array(frame) else await asyncio.to_thread(spoken_of, frame)
            if about is None:
                raise
            task, attempt, last_seq = about
            failure = invalid_output(str(error)[:MAX_REASON])
            await self._attempts.stop(connection, (task, attempt), last_seq, failure)
            return
        for message in messages:
            await self._take(connection, message)

    async def _take(self, connection: NodeConnection, message: FromNode) -> None:
        match message:
            case Chunk() | TaskProgress() | Metric() | Log():
                await self._attempts.event(connection, message)
            case Result() | Error():
                self._settlements.settle(connection, message)
            case Heartbeat():
                self._dispatcher.background.spawn(self._renew(connection, message), "dispatch.renew")
            case Snapshot():
                await self._attempts.snapshot(connection, message)
            case Refuse():
                self._attempts.refuse(connection, message)
            case Drained():
                connection.leaving = connection.drained = True
            case Hello():
                msg = "a second hello"
                raise BadMessage(msg)

    async def _renew(self, connection: NodeConnection, heartbeat: Heartbeat) -> None:
        for task, attempt, _ in heartbeat.progress:
            running = connection.running.get(task)
            if running is not None and running.attempt == attempt:
                running.sign()
        if connection.renewing:  # one that waits for the database is as good as two
            return
        connection.renewing = True
        try:
            renewal = Renew(connection.session, self._dispatcher.settings.lease)
            alive = await self._dispatcher.journal.execute(renewal, patient=True)
        except Unavailable:  # this gateway closes
            return
        finally:
            connection.renewing = False
        if not alive and connection.connected:
            log.warning("node.session_lost", node=connection.name, session=connection.session.id)
            await connection.hang_up(CLOSE_SESSION_LOST, "the session is lost; attach anew")

    async def close(self) -> None:
        """Send all nodes to another gateway."""
        connections = self._dispatcher.connections.values()
        await asyncio.gather(*(one.hang_up(CLOSE_RESTART, "the gateway restarts") for one in connections))


async def _hello(link: Link) -> Hello:
    try:
        async with asyncio.timeout(HELLO_WITHIN):
            hello = decode_from_node(await link.receive())
    except TimeoutError:
        raise BadMessage("no hello in time") from None
    if not isinstance(hello, Hello):
        raise BadMessage("the first message must be a hello")
    return hello
