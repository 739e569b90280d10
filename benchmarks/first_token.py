"""Time to first token: through the grid, over SSE and WebSocket, against calling the model in this process.

A prompt goes to the model directly, then through the grid, then the next prompt, over and over. A prompt takes
hundreds of times longer than what the grid adds, so its fastest run is taken on each way, and of the differences
of the prompts the median. A model that takes no time shows the grid's share by itself.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import orjson

from benchmarks import grids
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.grids import Grid
from benchmarks.http_load import HOST, Client, Connection, frame
from benchmarks.options import Options, on_loop
from benchmarks.sockets import Socket
from neurogrid.runners.text_generation import SmolLM2

GROUP = "first-token"
MODEL = "smollm2-135m"
TASKS = "/v1/tasks"
DIRECT = "directly"
PROMPTS = (
    "Name three uses of a paper clip.",
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Why is the sky blue?",
    "Translate 'good morning' to Spanish.",
)
PARAMETERS = {"max_tokens": 2}
INSTANT = {"model": "debug.sleep", "input": {"seconds": 0, "chunks": 1}}
_CHUNK = b"task.chunk"
_END = (b"task.completed", b"task.failed")
ADDED = Goal("value", 3.0, "≤ 3 ms", at_most=True)

Ask = Callable[[dict[str, Any]], Awaitable[float]]
"""Runs a task to its end; returns the seconds until its first chunk."""
Took = dict[str, list[float]]
"""Seconds by prompt."""


class _Listener:
    """Notes when the first chunk came, and the end."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first: float | None = None
        self.over = asyncio.Event()

    def take(self, data: bytes) -> None:
        """Look at a piece of a stream that holds whole events."""
        if self.first is None and _CHUNK in data:
            self.first = time.perf_counter() - self.began
        if any(end in data for end in _END):
            self.over.set()

    async def result(self) -> float:
        """Return the seconds until the first chunk. Raises ``RuntimeError`` when there was none."""
        await self.over.wait()
        if self.first is None:
            raise RuntimeError("the task ended without a chunk")
        return self.first


class _FirstChunk:
    """What a runner speaks to when it runs here: it only looks at the clock."""

    attempt = 1

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first: float | None = None

    async def chunk(self, data: Any) -> None:
        del data
        if self.first is None:
            self.first = time.perf_counter() - self.began

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None: ...

    async def metric(self, **figures: float) -> None: ...

    async def log(self, message: str, level: str = "info") -> None: ...

    def alive(self) -> None: ...


def measure(options: Options) -> Iterator[Figure]:
    """Measure on both kinds of grid."""
    for start in (grids.embedded, grids.apart):
        options.note(f"{GROUP}: starting")
        with start(models=f"{MODEL},{grids.DEBUG_MODELS}") as grid:
            options.note(f"{GROUP}: {grid.name}")
            yield from on_loop(_measure(options, grid))


async def _measure(options: Options, grid: Grid) -> list[Figure]:
    prompts = PROMPTS[: options.size(len(PROMPTS), 2)]
    runner = SmolLM2()
    await runner.load()
    try:
        async with _over_web_socket(grid) as web_socket:
            ways = {DIRECT: _directly(runner), "SSE": _over_sse(grid), "WebSocket": web_socket}
            took: dict[str, Took] = {way: {prompt: [] for prompt in prompts} for way in ways}
            for number in range(1 + options.size(2, 1) * options.rounds):
                for prompt, (way, ask) in product(prompts, ways.items()):
                    seconds = await ask({"model": MODEL, "input": prompt, "parameters": PARAMETERS})
                    if number:  # the first round warms up
                        took[way][prompt].append(seconds)
            instant = {
                way: [await ask(INSTANT) for _ in range(options.size(200, 50))]
                for way, ask in ways.items()
                if way != DIRECT
            }
    finally:
        await runner.close()
    direct = took.pop(DIRECT)
    return [
        _milliseconds(
            "called directly", f"beside {grid.name}", [each for some in direct.values() for each in some]
        ),
        *(_added(way, grid.name, found, direct) for way, found in took.items()),
        *(
            _milliseconds(f"of a model that takes no time, {way}", grid.name, found, ADDED)
            for way, found in instant.items()
        ),
    ]


def _added(way: str, grid: str, took: Took, direct: Took) -> Figure:
    differences = [min(took[prompt]) - min(direct[prompt]) for prompt in direct]
    return _milliseconds(f"added, {way}", grid, differences, ADDED)


def _milliseconds(name: str, grid: str, samples: list[float], *goals: Goal) -> Figure:
    spread = Spread.of([seconds * 1000 for seconds in samples])
    return Figure(
        GROUP,
        f"first token {name}",
        grid,
        statistics.median(samples) * 1000,
        "ms",
        spread=spread,
        goals=goals,
    )


def _directly(runner: SmolLM2) -> Ask:
    async def ask(task: dict[str, Any]) -> float:
        emit = _FirstChunk()
        await runner.run(task["input"], task["parameters"], emit)
        assert emit.first is not None
        return emit.first

    return ask


def _over_sse(grid: Grid) -> Ask:
    async def ask(task: dict[str, Any]) -> float:
        # Both connections are open before the clock runs, as a browser's would be.
        reader, writer = await asyncio.open_connection(HOST, grid.port)
        submitting = await Connection.open(grid.port)
        try:
            listener = _Listener()
            request = frame("POST", TASKS, grid.key, orjson.dumps(task))
            _, body = await submitting.request(request)
            path = f"{TASKS}/{orjson.loads(body)['id']}/events"
            writer.write(frame("GET", path, grid.key))
            while not listener.over.is_set():
                listener.take(await reader.read(65536))
            return await listener.result()
        finally:
            submitting.close()
            writer.close()

    return ask


@asynccontextmanager
async def _over_web_socket(grid: Grid) -> AsyncIterator[Ask]:
    listeners: list[_Listener] = []

    def take(text: memoryview) -> None:
        for listener in listeners:
            listener.take(bytes(text))

    socket = await Socket.open(grid.port, grid.key, take)
    async with Client(grid.port, grid.key) as client:

        async def ask(task: dict[str, Any]) -> float:
            listener = _Listener()
            listeners[:] = [listener]
            submitted = await client.post(TASKS, task)
            channel = f"task:{submitted['id']}"
            socket.send(f'{{"type":"subscribe","channel":"{channel}"}}')
            first = await listener.result()
            socket.send(f'{{"type":"unsubscribe","channel":"{channel}"}}')
            return first

        try:
            yield ask
        finally:
            socket.close()
