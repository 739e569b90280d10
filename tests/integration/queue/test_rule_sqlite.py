"""How the journal begins its transactions on SQLite."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from neurogrid.queue.policy import Status
from neurogrid.queue.sqlite import SqliteWriter
from tests.support.queue import insertion
from tests.support.truth import TASKS, truth_of

pytestmark = pytest.mark.asyncio


async def test_the_journal_waits_for_its_turn(sqlite_url: str) -> None:
    """R14: the lock of the process decides who writes; the journal does not run against SQLite's own."""
    async with truth_of(sqlite_url) as truth:
        connection = cast("SqliteWriter", truth.writer)._connection
        assert connection is not None
        connection.execute("PRAGMA busy_timeout = 0")  # so that it would be refused at once
        async with truth.database.transaction() as writing:
            await writing.execute(TASKS.update().values(cost=2.0))
            answer = asyncio.ensure_future(truth.one(insertion()))
            await asyncio.wait({answer}, timeout=0.2)
            assert not answer.done()
        assert (await answer).status is Status.QUEUED


async def test_a_batch_takes_the_lock_before_it_reads(sqlite_url: str) -> None:
    """R14: a transaction that reads first and writes later can be refused whatever the time-out; none does."""
    async with truth_of(sqlite_url) as truth:
        connection = cast("SqliteWriter", truth.writer)._connection
        assert connection is not None
        executed: list[str] = []
        connection.set_trace_callback(executed.append)
        await truth.one(insertion())
        connection.set_trace_callback(None)
    assert (executed[0], executed[-1]) == ("BEGIN IMMEDIATE", "COMMIT")
