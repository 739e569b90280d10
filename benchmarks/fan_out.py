"""Fan-out: one task with many chunks to many WebSockets, and what an idle connection costs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks import grids
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.grids import Grid
from benchmarks.http_load import Client
from benchmarks.options import Options, on_loop
from benchmarks.processes import leaving_a_core
from benchmarks.sockets import Socket

GROUP = "fan-out"
CHUNKS = 200
"""Fewer than a connection's buffer holds, so that a reader that is behind is not closed."""
TOGETHER = 100
WITHIN = 60.0
_CHUNK = b'"type":"task.chunk"'
_SUBSCRIBED = b'{"type":"subscribed"'

RATE = Goal("best", 60_000, "≥ 60,000 messages/s")
MEMORY = Goal("value", 30, "≤ 30 KiB", at_most=True)


@dataclass(slots=True)
class _Readers:
    """What all readers together got. ``wanted`` chunks end a burst."""

    wanted: int
    chunks: int = 0
    subscribed: int = 0
    first: float = 0.0
    last: float = 0.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    sockets: list[Socket] = field(default_factory=list)

    def take(self, text: memoryview) -> None:
        frame = bytes(text)
        if _CHUNK in frame:
            if not self.chunks:
                self.first = time.perf_counter()
            self.chunks += 1
            if self.chunks == self.wanted:
                self.last = time.perf_counter()
                self.done.set()
        elif frame.startswith(_SUBSCRIBED):
            self.subscribed += 1
            if self.subscribed == len(self.sockets):
                self.ready.set()


def measure(options: Options) -> Iterator[Figure]:
    """Measure on both kinds of grid."""
    with leaving_a_core():
        for start in (grids.embedded, grids.apart):
            options.note(f"{GROUP}: starting")
            # One slot: a task that sleeps keeps the next one waiting until all have subscribed to it.
            with start(models="debug.sleep", slots=1) as grid:
                grid.gateway.to_core_of_its_own()
                options.note(f"{GROUP}: idle connections on {grid.name}")
                yield on_loop(_idle(grid, options.size(2000, 300)))
                options.note(f"{GROUP}: chunks on {grid.name}")
                yield on_loop(_bursts(options, grid, options.size(1000, 200)))


async def _idle(grid: Grid, number: int) -> Figure:
    # The first ones make the process grow to what it needs anyway.
    async with _connected(grid, _Readers(0), number // 5):
        before = grid.gateway.memory.alone
        readers = _Readers(0)
        async with _connected(grid, readers, number):
            await _subscribe(readers, "system")
            kib = (grid.gateway.memory.alone - before) * 1024 / number
    return Figure(GROUP, f"idle connection, {number:,} of them", grid.name, kib, "KiB", goals=(MEMORY,))


async def _bursts(options: Options, grid: Grid, number: int) -> Figure:
    rates, cpus, errors = [], [], 0
    readers = _Readers(number * CHUNKS)
    async with _connected(grid, readers, number), Client(grid.port, grid.key) as client:
        for _ in range(options.rounds):
            seconds, cpu = await _burst(grid, client, readers)
            errors += readers.wanted - readers.chunks
            rates.append(readers.chunks / seconds)
            cpus.append(cpu / readers.chunks * 1e6)
    return Figure(
        GROUP,
        f"{CHUNKS} chunks to {number:,} WebSockets",
        grid.name,
        statistics.median(rates),
        "messages/s",
        best=max(rates),
        cpu_us=statistics.median(cpus),
        best_cpu_us=min(cpus),
        spread=Spread.of(rates),
        spread_unit="messages/s",
        goals=(RATE,),
        errors=errors,
    )


async def _burst(grid: Grid, client: Client, readers: _Readers) -> tuple[float, float]:
    """Return the seconds from the first chunk anywhere to the last, and the gateway's CPU meanwhile."""
    blocker = await client.post("/v1/tasks", _sleep(WITHIN, 0))
    task = await client.post("/v1/tasks", _sleep(0, CHUNKS))
    await _subscribe(readers, f"task:{task['id']}")
    readers.chunks = 0
    readers.done.clear()
    cpu = grid.gateway.cpu
    await client.post(f"/v1/tasks/{blocker['id']}/cancel")
    try:
        async with asyncio.timeout(WITHIN):
            await readers.done.wait()
    except TimeoutError:
        readers.last = time.perf_counter()
    return readers.last - readers.first, grid.gateway.cpu - cpu


def _sleep(seconds: float, chunks: int) -> dict[str, object]:
    return {"model": "debug.sleep", "input": {"seconds": seconds, "chunks": chunks}}


async def _subscribe(readers: _Readers, channel: str) -> None:
    readers.subscribed = 0
    readers.ready.clear()
    for socket in readers.sockets:
        socket.send(f'{{"type":"subscribe","channel":"{channel}"}}')
    async with asyncio.timeout(WITHIN):
        await readers.ready.wait()


@asynccontextmanager
async def _connected(grid: Grid, readers: _Readers, number: int) -> AsyncIterator[None]:
    try:
        for start in range(0, number, TOGETHER):
            some = range(start, min(start + TOGETHER, number))
            readers.sockets += await asyncio.gather(
                *(Socket.open(grid.port, grid.key, readers.take) for _ in some)
            )
        yield
    finally:
        for socket in readers.sockets:
            socket.close()
        await asyncio.gather(*(socket.closed for socket in readers.sockets))
