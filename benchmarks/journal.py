"""The journal alone, in this process, against the plainest group commit of the same rows on the same database.

A cycle is a task's life as far as the journal writes it: inserted running with its two events, then finished
with its output and the final event; five rows written in two durable steps.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks import grids
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.options import Options, on_loop
from benchmarks.plain_commits import PAYLOAD, Plain, on_postgres, on_sqlite
from benchmarks.processes import leaving_a_core, on_the_core_left
from neurogrid.core import migrations
from neurogrid.core.db import Database
from neurogrid.core.ids import new_id
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.build import make_journal
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Finish, Insert, SessionRef
from neurogrid.queue.policy import Priority, RetryPolicy, Status
from neurogrid.queue.upkeep import Upkeep

GROUP = "journal"
LEASE = 3600.0
CONCURRENCIES = (64, 512)
"""Callers at once, and tasks of one commit of the plain loop."""
SHARE = Goal("ratio", 0.6, "≥ 60 % of plain")


def measure(options: Options) -> Iterator[Figure]:
    """Measure on both databases."""
    with leaving_a_core():
        for name, database in ((grids.EMBEDDED, _sqlite), (grids.APART.split(",")[0], _postgres)):
            with database() as url, on_the_core_left():
                options.note(f"{GROUP}: {name}")
                yield from on_loop(_measure(options, name, url))


@contextmanager
def _sqlite() -> Iterator[str]:
    with grids.workplace() as directory:
        url = f"sqlite+aiosqlite:///{directory / 'bench.db'}"
        migrations.upgrade(url)
        yield url


@contextmanager
def _postgres() -> Iterator[str]:
    with grids.workplace() as directory, grids.servers(directory) as servers:
        migrations.upgrade(servers.database_url)
        yield servers.database_url


async def _measure(options: Options, name: str, url: str) -> list[Figure]:
    database = Database(url)
    journal = make_journal(database, JournalSettings())
    await journal.start()
    try:
        upkeep = Upkeep(database, new_id(), LEASE, RetryPolicy())
        session = await upkeep.attach(new_id(), "bench", None, embedded=False)
        plain = on_sqlite(url) if database.sqlite else await on_postgres(url)
        found = []
        for concurrency in CONCURRENCIES:
            found += await _compare(options, name, concurrency, plain, journal, session)
        return found
    finally:
        await journal.close()
        await database.close()


@dataclass(slots=True)
class _Measured:
    """Rounds of one kind: how many a second in each, and how long each single one took."""

    name: str
    unit: str
    finish: bool
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


async def _compare(
    options: Options, grid: str, concurrency: int, plain: Plain, journal: Journal, session: SessionRef
) -> list[Figure]:
    total = options.size(10_000, 2_000)
    kinds = [
        _Measured("insert", "tasks/s", finish=False),
        _Measured("insert and finish", "cycles/s", finish=True),
    ]
    plains = []
    await plain(10, concurrency)
    await _cycles(journal, session, concurrency, total // 5, finish=True)
    for _ in range(options.rounds):
        plains.append(await plain(max(total // concurrency, 1), concurrency))
        for kind in kinds:
            began = time.perf_counter()
            kind.seconds += await _cycles(journal, session, concurrency, total, finish=kind.finish)
            kind.rates.append(total / (time.perf_counter() - began))
    name, rate = f"plain group commit, {concurrency} tasks each", statistics.median(plains)
    reference = Figure(GROUP, name, grid, rate, "tasks/s", best=max(plains))
    return [reference, *(_figure(grid, concurrency, kind, plains) for kind in kinds)]


def _figure(grid: str, concurrency: int, kind: _Measured, plains: list[float]) -> Figure:
    return Figure(
        GROUP,
        f"{kind.name}, {concurrency} at once",
        grid,
        statistics.median(kind.rates),
        kind.unit,
        best=max(kind.rates),
        against="plain group commit",
        reference=statistics.median(plains),
        ratio=statistics.median(ours / theirs for ours, theirs in zip(kind.rates, plains, strict=True)),
        spread=Spread.of([seconds * 1000 for seconds in kind.seconds]),
        goals=() if kind.finish else (SHARE,),
    )


async def _cycles(
    journal: Journal, session: SessionRef, concurrency: int, cycles: int, *, finish: bool
) -> list[float]:
    """Run ``cycles``, ``concurrency`` at once; return how long each took, in seconds."""
    owner = new_id()
    left = iter(range(cycles))
    took: list[float] = []

    async def caller() -> None:
        for _ in left:
            began = time.perf_counter()
            task = _task(owner, session)
            await journal.execute(task)
            if finish:
                await journal.execute(Finish(task.id, 1, Status.COMPLETED, 2, output=PAYLOAD))
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return took


def _task(owner: str, session: SessionRef) -> Insert:
    return Insert(
        id=new_id(),
        owner=owner,
        lane="bench",
        model="bench",
        model_version="1",
        priority=Priority.NORMAL.value,
        input=PAYLOAD,
        parameters="{}",
        input_hash="0" * 64,
        max_attempts=3,
        session=session,
    )
