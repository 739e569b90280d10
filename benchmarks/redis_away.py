"""What requests notice of a Redis that stops, or hangs: how long those take that begin in its first second.

A user who is limited reads and submits all the while. After a quiet second Valkey is paused (SIGSTOP) or killed; it is
back before the next round. Where limits are counted by Redis, every request needs it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks import grids
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.grids import Grid
from benchmarks.http_load import Client, Connection, frame
from benchmarks.options import Options, on_loop
from benchmarks.processes import free_port, run, running
from neurogrid.servers.running import Servers
from neurogrid.servers.valkey import Valkey

GROUP = "redis-away"
LIMITED = "limited@localhost"
MANY = "100000000/minute"
CONNECTIONS = 4
PAUSE = 0.02
"""Seconds that a caller waits between two requests: the grid is used, not at its limit."""
SECOND = 1.0
SETTLES = 4.0
"""Seconds until a Redis that is back counts again."""
MOST = Goal("value", 300.0, "≤ 300 ms", at_most=True)
BODY = orjson.dumps({"model": "debug.echo", "input": "hi"})


@dataclass(frozen=True, slots=True)
class _Seen:
    """One request: when it began, how long it took (seconds), how it was answered."""

    began: float
    took: float
    status: int


def measure(options: Options) -> Iterator[Figure]:
    """Measure both ways of being away."""
    options.note(f"{GROUP}: starting")
    with _grid() as (grid, valkey):
        yield from on_loop(_measure(options, grid, valkey))


@contextmanager
def _grid() -> Iterator[tuple[Grid, Valkey]]:
    port = free_port()
    with grids.workplace() as directory, grids.servers(directory) as found:
        own = directory / "away"
        with Valkey(own) as valkey:
            environment = {
                **grids.prepare(directory, Servers(found.database_url, valkey.url)),
                **{f"NEUROGRID_LIMITS__ENTERPRISE__{name}": MANY for name in ("REQUESTS", "TASKS", "TOKENS")},
                **{f"NEUROGRID_LIMITS__{name}": MANY for name in ("READS", "ADDRESS")},
            }
            with (
                running(
                    "serve", (grids.NEUROGRID, "serve", "--port", str(port)), directory, environment
                ) as gateway,
                grids.joined("node", port, directory, environment, grids.DEBUG_MODELS, 64) as node,
            ):
                gateway.wait_until_ready(port)
                asyncio.run(grids.attached(node, port, environment["NEUROGRID_API_KEY"]))
                yield Grid(grids.APART, port, _limited(directory, environment), gateway, node), valkey


def _limited(directory: Path, environment: dict[str, str]) -> str:
    """Return a key of a user who has limits."""
    run((grids.NEUROGRID, "user", "create", LIMITED, "--tier", "enterprise"), directory, environment)
    return run(
        (grids.NEUROGRID, "key", "create", "--user", LIMITED, "--name", "bench"), directory, environment
    )


async def _measure(options: Options, grid: Grid, valkey: Valkey) -> list[Figure]:
    def hang() -> None:
        os.kill(_pid(valkey), signal.SIGSTOP)

    def wake() -> None:
        os.kill(_pid(valkey), signal.SIGCONT)

    await _shared(grid)
    figures = []
    for name, end, again in (("paused", hang, wake), ("killed", valkey.kill, valkey.start)):
        options.note(f"{GROUP}: {name}")
        quiet: list[_Seen] = []
        away: list[_Seen] = []
        for _ in range(options.rounds):
            before, after = await _round(grid, end, again)
            quiet += before
            away += after
        figures += [_figure(grid, f"{name}: the second before", quiet), _figure(grid, name, away, MOST)]
    return figures


def _pid(valkey: Valkey) -> int:
    assert valkey.pid is not None
    return valkey.pid


async def _shared(grid: Grid) -> None:
    """Let the gateway begin to count by Redis, and remember who asks."""
    async with Client(grid.port, grid.key) as client:
        for _ in range(10):
            await client.get("/v1/models")
            await asyncio.sleep(PAUSE)


async def _round(
    grid: Grid, end: Callable[[], None], again: Callable[[], None]
) -> tuple[list[_Seen], list[_Seen]]:
    seen: list[_Seen] = []
    over = asyncio.Event()
    callers = [asyncio.create_task(_call(grid, place, seen, over)) for place in range(CONNECTIONS)]
    began = time.perf_counter()
    await asyncio.sleep(SECOND)
    ended = time.perf_counter()
    end()
    try:
        await asyncio.sleep(SECOND)
    finally:
        over.set()
        await asyncio.gather(*callers)
        await asyncio.to_thread(again)
    await asyncio.sleep(SETTLES)
    before = [one for one in seen if began <= one.began and one.began + one.took < ended]
    # Those under way are met as well.
    after = [one for one in seen if ended < one.began + one.took and one.began < ended + SECOND]
    return before, after


async def _call(grid: Grid, place: int, seen: list[_Seen], over: asyncio.Event) -> None:
    read = frame("GET", "/v1/models", grid.key)
    submit = frame("POST", "/v1/tasks", grid.key, BODY)
    connection = await Connection.open(grid.port)
    try:
        while not over.is_set():
            began = time.perf_counter()
            status, _ = await connection.request(submit if place % 2 else read)
            seen.append(_Seen(began, time.perf_counter() - began, status))
            await asyncio.sleep(PAUSE)
    finally:
        connection.close()


def _figure(grid: Grid, name: str, seen: list[_Seen], *goals: Goal) -> Figure:
    spread = Spread.of([one.took * 1000 for one in seen])
    errors = sum(one.status not in {200, 202} for one in seen)
    return Figure(GROUP, name, grid.name, spread.max, "ms at most", spread=spread, goals=goals, errors=errors)
