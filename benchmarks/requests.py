"""Requests: submit, submit and wait, submit until all is done, get; each in turns with the bare route."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from benchmarks import grids
from benchmarks.figures import Figure, Goal, of_rounds
from benchmarks.grids import Grid, StartGrid
from benchmarks.http_load import Client, Round, frame, load
from benchmarks.options import Options, on_loop
from benchmarks.processes import Process, leaving_a_core

GROUP = "requests"
CONCURRENCY = 64
TASKS = "/v1/tasks"
BARE_BODY = orjson.dumps({"input": {"hello": "world"}, "model": "debug.echo"})
# Accepted and durable, and run by no node: what remains is the cost of accepting.
PARKED = orjson.dumps({"input": {"seconds": 0}, "model": "debug.sleep", "requires": {"bench": "nobody"}})
ECHO = BARE_BODY
BULK = 1000
"""Tasks of one bulk request."""
ECHOES = orjson.dumps({"tasks": [orjson.loads(ECHO)] * BULK})
HALF = Goal("ratio", 0.5, "≥ half of bare")
SUBMIT_CPU = Goal("best_cpu_us", 700, "≤ 700 µs CPU", at_most=True)
READ_CPU = Goal("best_cpu_us", 450, "≤ 450 µs CPU", at_most=True)
THROUGHPUT = Goal("best", 1500, "≥ 1,500 tasks/s")
BULK_THROUGHPUT = Goal("best", 10_000, "≥ 10,000 tasks/s")


@dataclass(frozen=True, slots=True)
class _Bare:
    process: Process
    port: int
    key: str = "ng_bench"

    async def measure(self, make: Callable[[int], bytes], requests: int, concurrency: int) -> Round:
        return await load(
            self.port, self.process, make, requests=requests, concurrency=concurrency, accept=(200, 202)
        )


@dataclass(frozen=True, slots=True)
class _Scenario:
    """One figure: what is sent to us, what to the bare route, and how many at once."""

    name: str
    ours: Callable[[Grid, list[str]], Callable[[int], bytes]]
    theirs: bytes
    accept: tuple[int, ...]
    concurrency: int = CONCURRENCY
    goals: tuple[Goal, ...] = ()
    until_done: bool = False
    batch: int = 1
    """Tasks of one request."""


def _posting(
    body: bytes, headers: str = "", path: str = TASKS
) -> Callable[[Grid, list[str]], Callable[[int], bytes]]:
    def ours(grid: Grid, _: list[str]) -> Callable[[int], bytes]:
        request = frame("POST", path, grid.key, body, headers)
        return lambda _: request

    return ours


def _getting(grid: Grid, tasks: list[str]) -> Callable[[int], bytes]:
    requests = [frame("GET", f"{TASKS}/{task}", grid.key) for task in tasks]
    return lambda number: requests[number % len(requests)]


_POST = frame("POST", TASKS, "ng_bench", BARE_BODY)
SCENARIOS = (
    _Scenario(
        f"submit, {CONCURRENCY} at once, until all ran", _posting(ECHO), _POST, (202,),
        goals=(THROUGHPUT,), until_done=True,
    ),
    _Scenario(
        f"bulk of {BULK:,}, until all ran", _posting(ECHOES, path=f"{TASKS}/bulk"), _POST, (200,),
        concurrency=1, goals=(BULK_THROUGHPUT,), until_done=True, batch=BULK,
    ),
    _Scenario(
        f"submit and wait, {CONCURRENCY} at once", _posting(ECHO, "Prefer: wait=30\r\n"), _POST, (200,),
        goals=(THROUGHPUT,),
    ),
    _Scenario(
        f"get, {CONCURRENCY} at once", _getting, frame("GET", f"{TASKS}/0", "ng_bench"), (200,), goals=(READ_CPU, HALF)
    ),
    # These leave a backlog, so they come last.
    _Scenario("submit, one by one", _posting(PARKED), _POST, (202,), concurrency=1, goals=(SUBMIT_CPU, HALF)),
    _Scenario(f"submit, {CONCURRENCY} at once", _posting(PARKED), _POST, (202,), goals=(SUBMIT_CPU, HALF)),
)  # fmt: skip


def measure(options: Options) -> Iterator[Figure]:
    """Measure all scenarios on both kinds of grid."""
    with leaving_a_core(), _bare() as bare:
        for start in (grids.embedded, grids.apart):
            options.note(f"{GROUP}: starting")
            with _started(start) as grid:
                tasks = on_loop(_finished_tasks(grid))
                for scenario in SCENARIOS:
                    options.note(f"{GROUP}: {scenario.name} on {grid.name}")
                    yield on_loop(_rounds(options, scenario, grid, bare, tasks))


@contextmanager
def _bare() -> Iterator[_Bare]:
    with grids.bare() as (process, port):
        process.to_core_of_its_own()
        yield _Bare(process, port)


@contextmanager
def _started(start: StartGrid) -> Iterator[Grid]:
    with start() as grid:
        grid.gateway.to_core_of_its_own()
        yield grid


async def _finished_tasks(grid: Grid) -> list[str]:
    async with Client(grid.port, grid.key) as client:
        found = [
            await client.post(TASKS, orjson.loads(ECHO), "Prefer: wait=30\r\n") for _ in range(CONCURRENCY)
        ]
    return [task["id"] for task in found]


async def _rounds(options: Options, scenario: _Scenario, grid: Grid, bare: _Bare, tasks: list[str]) -> Figure:
    many = scenario.concurrency > 1 or scenario.batch > 1
    requests = options.size(2000, 400) if many else options.size(400, 100)
    make = scenario.ours(grid, tasks)
    run = _until_done if scenario.until_done else _answered
    ours, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(await bare.measure(lambda _: scenario.theirs, requests, scenario.concurrency))
        ours.append(await run(scenario, grid, make, max(requests // scenario.batch, 1)))
    unit = "tasks/s" if {THROUGHPUT, BULK_THROUGHPUT} & set(scenario.goals) else "requests/s"
    return of_rounds(GROUP, scenario.name, grid.name, ours, theirs, goals=scenario.goals, unit=unit)


async def _answered(scenario: _Scenario, grid: Grid, make: Callable[[int], bytes], requests: int) -> Round:
    return await load(
        grid.port,
        grid.gateway,
        make,
        requests=requests,
        concurrency=scenario.concurrency,
        accept=scenario.accept,
        other=grid.node,
    )


async def _until_done(scenario: _Scenario, grid: Grid, make: Callable[[int], bytes], requests: int) -> Round:
    """Measure until the last task is finished; each that did not complete counts as an error."""
    async with Client(grid.port, grid.key) as client:
        cpu, node_cpu = grid.gateway.cpu, grid.node.cpu if grid.node else 0.0
        since, began = datetime.now(UTC), time.perf_counter()
        submitted = await _answered(scenario, grid, make, requests)
        mine = f"{TASKS}?model=debug.echo&created_after={quote(since.isoformat())}"
        await _until_none(client, f"{mine}&status=queued&status=running&limit=1")
        seconds = time.perf_counter() - began
        submitted.cpu = grid.gateway.cpu - cpu
        submitted.other_cpu = grid.node.cpu - node_cpu if grid.node else 0.0
        completed = [task async for task in _pages(client, f"{mine}&status=completed&limit=100")]
        # The load's warm-up submits a few more than are asked for.
        submitted.requests = len(completed)
        submitted.seconds = min(seconds, _lifetime(completed))
        submitted.errors += max(requests * scenario.batch - len(completed), 0)
        return submitted


async def _until_none(client: Client, path: str) -> None:
    while True:
        if not (await client.get(path))["data"]:
            return
        await asyncio.sleep(0.02)


async def _pages(client: Client, path: str) -> AsyncIterator[Any]:
    cursor = ""
    while True:
        page = await client.get(path + cursor)
        for task in page["data"]:
            yield task
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


def _lifetime(tasks: list[Any]) -> float:
    """Return the seconds from the first creation to the last end."""
    first = min(datetime.fromisoformat(task["created_at"]) for task in tasks)
    last = max(datetime.fromisoformat(task["finished_at"]) for task in tasks)
    return (last - first).total_seconds()
