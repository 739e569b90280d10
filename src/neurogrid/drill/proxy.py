"""A network that can be cut, frozen and made cruel: TCP listeners between the processes of the grid."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from neurogrid.drill.wire import Conversation, Moment

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Streams]]
"""Opens a connection to the other side. Raises ``OSError``."""
Inspect = Callable[[bytes], Awaitable[None]]
"""Looks at what passes, and holds it as long as it likes. Raises ``Cut``."""

PIECE = 64 * 1024
TRAP_WITHIN = 5.0
"""Seconds a trap waits for its moment."""


class Cut(Exception):
    """This connection ends here and now."""


class Proxy:
    """Passes connections on, while it pleases."""

    def __init__(self, name: str, dial: Dial) -> None:
        """Lead to whatever ``dial`` opens; ``name`` says from whom to whom."""
        self.name = name
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        if self._server is None:
            msg = "the proxy has not been started"
            raise RuntimeError(msg)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        """Cut everything and listen no more."""
        if self._server is not None:
            self._server.close()
        self._flowing.set()
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    def cut(self) -> int:
        """Break all connections without a goodbye, and return how many there were."""
        for writer in self._writers:
            writer.transport.abort()
        return len(self._writers) // 2

    def freeze(self) -> None:
        """Let nothing pass, and let nobody notice; what is said meanwhile passes later."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything pass."""
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._dial()
        except OSError:
            writer.transport.abort()
            return
        inspect_request, inspect_answer = self._inspection()
        self._writers |= {writer, far_writer}
        pumps = [
            asyncio.ensure_future(self._pump(reader, far_writer, inspect_request)),
            asyncio.ensure_future(self._pump(far_reader, writer, inspect_answer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= {writer, far_writer}
            for one in (writer, far_writer):
                one.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inspect: Inspect
    ) -> None:
        with contextlib.suppress(OSError, Cut):
            while data := await reader.read(PIECE):
                await self._flowing.wait()
                await inspect(data)
                writer.write(data)
                await writer.drain()
            await self._flowing.wait()

    def _inspection(self) -> tuple[Inspect, Inspect]:
        return _let_pass, _let_pass


async def _let_pass(data: bytes) -> None:
    del data


@dataclass(slots=True, eq=False)
class Trap:
    """Waits for ``moment`` on any connection; then ``strike`` is called, and decides what becomes of it.

    ``strike`` comes before the client's request for a commit passes, and before the answer does where
    ``answer`` is set or the moment is one of the server's.
    """

    moment: Moment
    strike: Callable[[], Awaitable[None]]
    answer: bool = False


def cut_before() -> Trap:
    """Return the trap that breaks a connection before the server hears of the commit."""
    return Trap(Moment.COMMIT, _cut)


def cut_after() -> Trap:
    """Return the trap that breaks a connection when the commit is done, before the client hears of it."""
    return Trap(Moment.COMMIT, _cut, answer=True)


def delay(seconds: float) -> Trap:
    """Return the trap that lets the client hear of the commit late."""
    return Trap(Moment.COMMIT, lambda: asyncio.sleep(seconds), answer=True)


async def _cut() -> None:
    raise Cut


class DatabaseProxy(Proxy):
    """A proxy before PostgreSQL. ``writer`` is what those connections call themselves that only write."""

    def __init__(self, name: str, dial: Dial, writer: str) -> None:
        super().__init__(name, dial)
        self._writer = writer
        self._traps: list[tuple[Trap, asyncio.Event]] = []

    async def spring(self, trap: Trap) -> bool:
        """Lay a trap and wait until it strikes; ``False`` when its moment does not come."""
        laid = (trap, asyncio.Event())
        self._traps.append(laid)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TRAP_WITHIN):
                await laid[1].wait()
        if laid in self._traps:
            self._traps.remove(laid)
        return laid[1].is_set()

    def _inspection(self) -> tuple[Inspect, Inspect]:
        conversation = Conversation(self._writer)
        pending: list[Trap] = []

        async def request(data: bytes) -> None:
            if Moment.COMMIT in conversation.from_client(data) and (trap := self._take(Moment.COMMIT)):
                if trap.answer:
                    pending.append(trap)
                else:
                    await trap.strike()

        async def answer(data: bytes) -> None:
            moments = conversation.from_server(data)
            if Moment.HELD_OPEN in moments and (trap := self._take(Moment.HELD_OPEN)):
                await trap.strike()
            if Moment.DONE in moments and pending:
                await pending.pop().strike()

        return request, answer

    def _take(self, moment: Moment) -> Trap | None:
        for laid in self._traps:
            trap, struck = laid
            if trap.moment is moment:
                self._traps.remove(laid)
                struck.set()
                return trap
        return None
