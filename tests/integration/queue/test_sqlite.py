"""What the journal makes of SQLite: one file, writers that take turns."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import make_url

from neurogrid.core.ids import new_id
from neurogrid.queue import sqlite_statements
from neurogrid.queue.ops import Want
from neurogrid.queue.policy import Status
from neurogrid.queue.sqlite import SqliteWriter
from neurogrid.queue.upkeep import LaneInfo
from neurogrid.queue.writer import ConnectionLost, Transient
from tests.support.queue import insertion
from tests.support.truth import TASKS, Truth, truth_of

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def truth(sqlite_url: str) -> AsyncIterator[Truth]:
    """A SQLite database of this test's own."""
    async with truth_of(sqlite_url) as opened:
        yield opened


async def test_writers_take_turns(truth: Truth) -> None:
    """R14: the journal and all other writers of the process write side by side; none is told that it is locked."""

    async def journal() -> None:
        for _ in range(50):
            await truth.do(insertion(), insertion())

    async def others(name: str) -> None:
        for index in range(50):
            await truth.upkeep.know_lane(LaneInfo(f"{name}-{index}", "m", "{}"))
            await truth.queued(lane=f"{name}-{index}")
            await truth.session(name)

    await asyncio.gather(journal(), others("a"), others("b"), journal())
    assert len(await truth.upkeep.lanes()) == 100
    assert len(await truth.sessions()) == 100


async def test_reads_go_on_beside_a_transaction(truth: Truth) -> None:
    """R14: readers see the last commit and wait for nobody."""
    op = await truth.queued()
    async with truth.database.transaction() as writing:
        await writing.execute(TASKS.update().values(cost=2.0))
        assert (await truth.task(op.id))["status"] == "queued"


async def test_the_journal_is_durable(truth: Truth, sqlite_url: str) -> None:
    """R14: what was answered is on the disk: a write-ahead log, synced at every commit."""
    writer = truth.writer
    assert isinstance(writer, SqliteWriter)
    assert writer._connection is not None
    assert writer._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    op = await truth.queued()
    with sqlite3.connect(make_url(sqlite_url).database or "") as elsewhere:
        assert elsewhere.execute("SELECT status FROM tasks WHERE id = ?", [op.id]).fetchone() == ("queued",)
    elsewhere.close()


@pytest.mark.parametrize("claim", [sqlite_statements.FIRST, sqlite_statements.FIRST_AGED])
async def test_claims_use_their_index(truth: Truth, claim: str) -> None:
    """R13, R15: a claim reads the head of `ix_tasks_claim`; it neither scans nor sorts what waits behind it."""
    writer = truth.writer
    assert isinstance(writer, SqliteWriter)
    assert writer._connection is not None
    steps = [row[3] for row in writer._connection.execute(f"EXPLAIN QUERY PLAN {claim}", [None])]
    assert any("ix_tasks_claim" in step for step in steps)
    assert not [step for step in steps if "TEMP B-TREE" in step or step.startswith("SCAN tasks")]


async def test_a_file_locked_by_another_process_is_transient(truth: Truth, sqlite_url: str) -> None:
    """R9, R14: a foreign lock is waited for, then the batch is repeated; no row is to blame."""
    writer = truth.writer
    assert isinstance(writer, SqliteWriter)
    assert writer._connection is not None
    writer._connection.execute("PRAGMA busy_timeout = 10")
    foreign = sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)
    op = insertion()
    try:
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient):
            await truth.one(op)
    finally:
        foreign.close()
    assert (await truth.one(op)).status is Status.QUEUED


async def test_no_file_is_an_outage(tmp_path: Path) -> None:
    """R8: a file that cannot be opened, or is none of ours, is tried again."""
    nowhere = SqliteWriter(str(tmp_path / "no" / "such" / "file.db"), asyncio.Lock())
    with pytest.raises(ConnectionLost):
        await nowhere.connect()
    with pytest.raises(ConnectionLost):
        await Truth.do(_truth_on(nowhere), insertion())
    await nowhere.close()
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database at all" * 1000)
    writer = SqliteWriter(str(garbage), asyncio.Lock())
    with pytest.raises(ConnectionLost):
        await writer.connect()
    await writer.close()
    await writer.close()


def _truth_on(writer: SqliteWriter) -> Truth:
    truth = Truth.__new__(Truth)
    truth.writer = writer
    return truth


async def test_a_claim_for_nobody_changes_nothing(truth: Truth) -> None:
    """R15: a claim by a session that is gone leaves the queue as it is."""
    session = await truth.session()
    await truth.forget(session)
    op = await truth.queued(lane=new_id())
    assert await truth.one(Want(op.lane, session)) is None
    assert (await truth.task(op.id))["status"] == "queued"
