"""The node's conduct: connect, take tasks, tell what happens to them, and lose nothing on the way.

Runs go on while there is no connection; a gateway, any gateway, hears on the next one what still runs and
what came out meanwhile (R3, R6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path

import structlog

from neurogrid.agent.connect import REFUSAL_CODES, Backoff, Connect, NodeRefused
from neurogrid.agent.outbox import Outbox
from neurogrid.agent.sender import Sender
from neurogrid.agent.vitals import load_average, resident_bytes
from neurogrid.agent.workload import Workload
from neurogrid.protocol.frames import BadMessage, decode_from_node, decode_to_node, encode, read_to_node
from neurogrid.protocol.link import CLOSE_PROTOCOL, Link, LinkClosed
from neurogrid.protocol.messages import (
    Assign,
    Cancel,
    Committed,
    Drain,
    Drained,
    Error,
    Execution,
    Heartbeat,
    Hello,
    Progress,
    Refused,
    Release,
    Resend,
    Result,
    ToNode,
    Welcome,
)
from neurogrid.runners.base import Runner

_WELCOME_WITHIN = 10.0
_HELLO_DONE_BYTES = 8 * 1024 * 1024
"""Outcomes that fit into a hello; further ones follow as messages of their own."""
_CONFIRM_WITHIN = 5.0
"""How long a drained node waits for its last results to be confirmed, and for a gateway to say goodbye to."""

log = structlog.get_logger(__name__)


class Agent:
    """One node. ``runners`` are loaded and stay their owner's; ``slots`` bounds what runs at once.

    ``connect`` opens a ``Link`` to a gateway; it raises ``OSError`` to be tried again later, ``NodeRefused``
    to end the node. ``spill_dir`` takes unconfirmed results that memory is too small for.
    """

    def __init__(
        self,
        name: str,
        version: str,
        runners: Iterable[Runner],
        *,
        slots: int,
        connect: Connect,
        labels: Mapping[str, str] | None = None,
        spill_dir: Path | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.connected = asyncio.Event()
        """Set while a gateway has welcomed this node."""
        self._name = name
        self._version = version
        self._slots = slots
        self._labels = dict(labels or {})
        self._connect = connect
        self._backoff = backoff or Backoff()
        self._outbox = Outbox(spill_dir)
        runners = list(runners)
        self._models = [runner.spec for runner in runners]
        self._work = Workload(runners, slots, self._outbox, self.connected)
        self._session: str | None = None
        self._serving: asyncio.Task[NodeRefused | None] | None = None
        self._draining = False
        self._arrays = True
        self._left = asyncio.Event()

    async def run(self) -> None:
        """Serve until drained. Raises ``NodeRefused``; cancelling ends everything at once."""
        try:
            async with asyncio.TaskGroup() as group:
                self._work.group = group
                self._serving = group.create_task(self._serve())
                await asyncio.wait({self._serving})
                self._work.abandon()
        finally:
            self._outbox.close()
        if not self._serving.cancelled() and (refusal := self._serving.result()) is not None:
            raise refusal

    async def drain(self, deadline: float) -> None:
        """Take nothing new, finish what runs within ``deadline`` seconds, hand back the rest and leave.

        Returns when the node has left, which also ends ``run``.
        """
        if self._draining:
            await self._left.wait()
            return
        self._draining = self._work.closed = True
        log.info("agent.draining", running=self._work.running, deadline=deadline)
        await self._work.settle(deadline)
        try:
            async with asyncio.timeout(_CONFIRM_WITHIN):
                await self._outbox.emptied()
                await self._say_goodbye()
        except TimeoutError:
            log.warning("agent.results_unconfirmed")
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait({self._serving})
        self._left.set()

    async def _serve(self) -> NodeRefused | None:
        while True:
            try:
                await self._converse(await self._connect())
            except OSError as error:
                log.warning("agent.no_connection", error=str(error))
            except NodeRefused as refusal:
                return refusal
            await asyncio.sleep(self._backoff.next())

    async def _converse(self, link: Link) -> None:
        """Speak on ``link`` until it ends. Raises ``NodeRefused`` or, for any other end, ``OSError``."""
        try:
            hello = await self._hello()
            await link.send(encode(hello))
            welcome = await self._welcome(link)
            await self._attend(link, welcome, {(done.task, done.attempt) for done in hello.done})
        except LinkClosed as closed:
            if closed.code in REFUSAL_CODES:
                raise NodeRefused(closed.reason or "the gateway refused this node's token") from closed
            if closed.code == CLOSE_PROTOCOL:
                self._arrays = False  # sent one by one, the gateway can tell which message was bad
            raise
        finally:
            self._work.sender = None
            self.connected.clear()
            for attempt in self._work:
                attempt.make_room()
            await link.close()

    async def _hello(self) -> Hello:
        running: list[Progress] = []
        done: list[Result | Error] = []
        room = _HELLO_DONE_BYTES
        for attempt in self._work:
            frame = await self._outbox.get(attempt.key) if attempt.finished else None
            if frame is not None and len(frame) <= room:
                message = decode_from_node(frame)
                if isinstance(message, Result | Error):
                    done.append(message)
                    room -= len(frame)
            elif attempt.key in self._work:
                running.append(attempt.position)
        return Hello(
            name=self._name,
            version=self._version,
            models=self._models,
            slots=self._slots,
            labels=self._labels,
            arrays=True,
            session=self._session,
            running=running,
            done=done,
        )

    async def _welcome(self, link: Link) -> Welcome:
        async with asyncio.timeout(_WELCOME_WITHIN):
            while True:
                try:
                    message = decode_to_node(await link.receive())
                except BadMessage as error:
                    raise LinkClosed(CLOSE_PROTOCOL, str(error)) from error
                if isinstance(message, Welcome):
                    return message

    async def _attend(self, link: Link, welcome: Welcome, presented: set[Execution]) -> None:
        if self._session not in {None, welcome.session}:
            log.warning("agent.session_lost", session=self._session)
        self._session = welcome.session
        self._backoff.reset()
        sender = Sender(self._outbox, arrays=welcome.arrays and self._arrays)
        for attempt in self._work:
            attempt.outcome_due = attempt.finished and attempt.key not in presented
            sender.ready(attempt)
        self._work.sender = sender
        self.connected.set()
        log.info("agent.connected", node_id=welcome.node_id, session=welcome.session)
        await _first_to_end(self._listen(link), sender.run(link), self._beat(sender, welcome.heartbeat_s))

    async def _beat(self, sender: Sender, interval: float) -> None:
        while True:
            alive = [
                attempt.position for attempt in self._work if attempt.take_alive() and not attempt.finished
            ]
            sender.post(Heartbeat(load=load_average(), memory=resident_bytes(), progress=alive))
            await asyncio.sleep(interval)

    async def _listen(self, link: Link) -> None:
        while True:
            frame = await link.receive()
            try:
                messages = read_to_node(frame)
            except BadMessage as error:
                log.warning("agent.bad_message", error=str(error))
                continue
            for message in messages:
                self._handle(message)

    def _handle(self, message: ToNode) -> None:
        match message:
            case Assign():
                self._work.assign(message)
            case Committed() | Refused():
                self._work.confirm((message.task, message.attempt))
            case Cancel() | Release():
                self._work.stop((message.task, message.attempt))
            case Resend():
                self._work.resend(message)
            case Drain() if self._work.group is not None:
                self._work.closed = True
                self._work.group.create_task(self.drain(message.deadline_s))
            case _:
                log.warning("agent.unexpected_message", type=type(message).__name__)

    async def _say_goodbye(self) -> None:
        if self._session is not None and self._serving is not None and not self._serving.done():
            # If cut off just now: what was stopped would count as lost to a gateway that never hears of it.
            await self.connected.wait()
        if self._work.sender is not None:
            self._work.sender.post(Drained())
            await self._work.sender.flushed()


async def _first_to_end(*activities: Coroutine[None, None, None]) -> None:
    """Run all until one ends, which it does with an exception; cancel the others and raise it."""
    tasks = [asyncio.ensure_future(activity) for activity in activities]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
