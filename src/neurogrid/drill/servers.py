"""PostgreSQL and Valkey as victims. What blocks runs in threads: the network of the grid is in this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurogrid.drill.proxy import Streams
from neurogrid.servers.postgres import USER, Postgres
from neurogrid.servers.valkey import Valkey

FLUSH_WITHIN = 5.0


class Database:
    """PostgreSQL, to be crashed and paused."""

    def __init__(self, folder: Path) -> None:
        """Prepare to run it in ``folder``."""
        self._server = Postgres(folder)
        self._paused: list[int] = []

    @property
    def url(self) -> str:
        """Where the drill itself finds it."""
        return self._server.url

    @property
    def socket(self) -> Path:
        """The same, as a file."""
        return self._server.socket

    @property
    def user(self) -> str:
        """Whom it knows."""
        return USER

    async def dial(self) -> Streams:
        """Open a connection to it."""
        return await asyncio.open_unix_connection(str(self.socket))

    async def start(self) -> None:
        """Start it, with a new data folder if there is none."""
        await _finished(self._server.initialize)
        await _finished(self._server.start)

    async def close(self) -> None:
        """Stop it for good."""
        self.resume()
        await _finished(self._server.stop, "immediate")

    async def crash(self) -> None:
        """End all its processes at once, as a crash does."""
        self.resume()
        await _finished(self._server.stop, "immediate")

    async def restart(self) -> None:
        """Start it after a crash; it recovers."""
        await _finished(self._server.start)

    async def mend(self) -> None:
        """See that it runs."""
        self.resume()
        if self._server.pid is None:
            await self.restart()

    def pause(self) -> None:
        """Stop all its processes where they stand."""
        self._stop(self._processes())

    def pause_one(self, choose: random.Random) -> bool:
        """Stop one of the processes that serve a connection; ``False`` when there is none."""
        backends = self._backends()
        self._stop([choose.choice(backends)] if backends else [])
        return bool(backends)

    def kill_one(self, choose: random.Random) -> bool:
        """Kill one of them, upon which PostgreSQL restarts all; ``False`` when there is none."""
        backends = self._backends()
        if backends:
            _send(choose.choice(backends), signal.SIGKILL)
        return bool(backends)

    def resume(self) -> None:
        """Let all processes that were stopped go on."""
        paused, self._paused = self._paused, []
        for process in reversed(paused):
            _send(process, signal.SIGCONT)

    def _stop(self, processes: list[int]) -> None:
        for process in processes:
            self._paused.append(process)
            _send(process, signal.SIGSTOP)

    def _processes(self) -> list[int]:
        first = self._server.pid
        return [] if first is None else [first, *(child for child, _ in _children(first))]

    def _backends(self) -> list[int]:
        first = self._server.pid
        return [] if first is None else [child for child, title in _children(first) if "[local]" in title]


class Redis:
    """Valkey, to be killed, paused and flushed."""

    def __init__(self, folder: Path) -> None:
        """Prepare to run it in ``folder``."""
        self._server = Valkey(folder)
        self._paused = False

    @property
    def url(self) -> str:
        """Where it is found without the drill's network."""
        return self._server.url

    async def dial(self) -> Streams:
        """Open a connection to it."""
        return await asyncio.open_unix_connection(str(self._server.socket))

    async def start(self) -> None:
        """Start it, empty."""
        await _finished(self._server.start)

    async def close(self) -> None:
        """Stop it for good."""
        self.resume()
        await _finished(self._server.stop)

    async def kill(self) -> None:
        """End it at once; with it goes all it knows."""
        await _finished(self._server.kill)
        self._paused = False

    async def mend(self) -> None:
        """See that it runs."""
        self.resume()
        if self._server.pid is None:
            await self.start()

    def pause(self) -> None:
        """Stop it where it stands."""
        if self._server.pid is not None:
            self._paused = True
            _send(self._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self._paused and self._server.pid is not None:
            _send(self._server.pid, signal.SIGCONT)
        self._paused = False

    async def flush(self) -> bool:
        """Make it forget everything; ``False`` when it does not answer."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(FLUSH_WITHIN):
                reader, writer = await self.dial()
                try:
                    writer.write(b"FLUSHALL\r\n")
                    return await reader.readline() == b"+OK\r\n"
                finally:
                    writer.transport.abort()
        return False


def _children(process: int) -> list[tuple[int, str]]:
    """Return the children of a process and their titles."""
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415  comes with the server's package

    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append((child.pid, " ".join(child.cmdline())))
    return found


def _send(process: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, what)


async def _finished(work: Callable[..., None], *arguments: Any) -> None:
    """Run ``work`` in a thread, to its end also when cancelled: nobody could stop later what it half started."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
