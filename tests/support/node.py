"""A node's surroundings for tests: an ``Emit`` that remembers, runners on a string, a scripted gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from neurogrid.agent.agent import Agent
from neurogrid.agent.connect import Backoff
from neurogrid.protocol.frames import decode_from_node, encode
from neurogrid.protocol.link import Link, LinkClosed, in_process_links
from neurogrid.protocol.messages import Assign, FromNode, Heartbeat, Hello, Message, ModelSpec, Welcome
from neurogrid.runners.base import Emit, Output, Runner
from tests.support.until import PATIENCE

M = TypeVar("M", bound=Message)


class RecordedEmit:
    """Remembers what a run says."""

    def __init__(self, attempt: int = 1) -> None:
        self.attempt = attempt
        self.chunks: list[Any] = []
        self.signs_of_life = 0
        self.spoke = asyncio.Event()

    @property
    def text(self) -> str:
        return "".join(chunk["text"] for chunk in self.chunks)

    async def chunk(self, data: Any) -> None:
        self.chunks.append(data)
        self.spoke.set()

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        self.signs_of_life += 1

    async def metric(self, **figures: float) -> None:
        self.signs_of_life += 1

    async def log(self, message: str, level: str = "info") -> None:
        self.signs_of_life += 1

    def alive(self) -> None:
        self.signs_of_life += 1


class Puppet:
    """A model that does what the test tells it: by default it waits for ``go`` and returns its input."""

    def __init__(self, name: str = "puppet", slots: int = 4, *, deterministic: bool = False) -> None:
        self.spec = ModelSpec(name, "1", "test", slots=slots, deterministic=deterministic)
        self.go = asyncio.Event()
        self.started = 0
        self.running = 0
        self.most_running = 0
        self.cancelled = 0
        self.act: Callable[[Any, Emit], Any] | None = None

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        self.started += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.act is not None:
                return Output(await self.act(input, emit))
            await self.go.wait()
            return Output(input)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


def speaker(*texts: str, then: asyncio.Event | None = None) -> Any:
    """Return an act that emits texts, waits for ``then``, and returns the joined text."""

    async def act(input: Any, emit: Emit) -> Any:
        for text in texts:
            await emit.chunk({"text": text})
        if then is not None:
            await then.wait()
        return {"text": "".join(texts)}

    return act


def order(task: str) -> Assign:
    """Return an order to the puppet."""
    return Assign(task, 1, "puppet", msgspec.Raw(b'"hi"'), msgspec.Raw(b"{}"), 60)


class Gateway:
    """The other end of a node's link: ``expect`` takes messages by type, keeping the others for later."""

    def __init__(self) -> None:
        self._links: asyncio.Queue[Link] = asyncio.Queue()
        self._link: Link | None = None
        self._later: list[FromNode] = []
        self.connections = 0

    async def connect(self) -> Link:
        """Open a link, as a node does."""
        ours, theirs = in_process_links()
        self._links.put_nowait(ours)
        self.connections += 1
        return theirs

    async def greet(self, session: str = "s1", heartbeat_s: float = 60.0, *, arrays: bool = False) -> Hello:
        """Take a connection and its hello, and welcome the node."""
        async with asyncio.timeout(PATIENCE):
            self._link = await self._links.get()
        self._later.clear()
        hello = await self.expect(Hello)
        await self.say(Welcome("n1", session, lease_s=10.0, heartbeat_s=heartbeat_s, arrays=arrays))
        return hello

    async def say(self, message: Message) -> None:
        """Send a message to the node."""
        await self.send_raw(encode(message))

    async def send_raw(self, frame: bytes) -> None:
        """Send a frame, be it a message or not."""
        assert self._link is not None
        await self._link.send(frame)

    async def assign(
        self, task: str, attempt: int = 1, *, model: str = "puppet", input: Any = "hi", timeout_s: float = 60
    ) -> None:
        """Have the node run a task."""
        raw = msgspec.Raw(msgspec.json.encode(input))
        await self.say(Assign(task, attempt, model, raw, msgspec.Raw(b"{}"), timeout_s))

    async def expect(self, kind: type[M]) -> M:
        """Return the next message of a type; others keep their order for later calls."""
        for index, message in enumerate(self._later):
            if isinstance(message, kind):
                del self._later[index]
                return message
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message
            self._later.append(message)

    async def receive(self) -> FromNode:
        """Return the next message but heartbeats, in the order of arrival."""
        assert self._link is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                message = decode_from_node(await self._link.receive())
                assert message is not None
                if not isinstance(message, Heartbeat):
                    return message

    async def receive_raw(self) -> bytes | str:
        """Return the next frame, whatever is in it."""
        assert self._link is not None
        async with asyncio.timeout(PATIENCE):
            return await self._link.receive()

    async def heartbeat(self) -> Heartbeat:
        """Return the next heartbeat."""
        assert self._link is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                message = decode_from_node(await self._link.receive())
                if isinstance(message, Heartbeat):
                    return message

    async def hang_up(self, code: int = 1006, reason: str = "") -> None:
        """Cut the connection."""
        assert self._link is not None
        await self._link.close(code, reason)

    async def gone(self) -> LinkClosed:
        """Wait until the node has closed the connection."""
        assert self._link is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self._link.receive()
                except LinkClosed as closed:
                    return closed


@asynccontextmanager
async def serving(
    gateway: Gateway, runners: Iterable[Runner], slots: int = 8, **options: Any
) -> AsyncIterator[Agent]:
    """Run an agent as long as the block; it must not have failed by its end."""
    agent = Agent(
        "node",
        "1.0",
        runners,
        slots=slots,
        connect=options.pop("connect", gateway.connect),
        backoff=Backoff(0.01, 0.05),
        **options,
    )
    run = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        run.cancel()
        await asyncio.wait({run})
        if not run.cancelled():
            run.result()
