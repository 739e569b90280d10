"""Connections that break at the worst moment: nothing is lost, nothing happens twice (R8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import select, text

from neurogrid.core.db import Database
from neurogrid.core.errors import OutcomeUnknown
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.answers import Claimed, Inserted
from neurogrid.queue.build import make_journal
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Cancel, Finish, Renew, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from tests.support.proxy import Proxy, proxy_to
from tests.support.queue import accepts, insertion
from tests.support.truth import EVENTS, TASKS, Truth
from tests.support.until import PATIENCE

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """A proxy to the test's PostgreSQL."""
    async with proxy_to(postgres_url) as running:
        yield running


@pytest_asyncio.fixture
async def journal(proxy: Proxy) -> AsyncIterator[Journal]:
    """A journal whose connection runs through the proxy."""
    database = Database(proxy.url)
    opened = make_journal(database, JournalSettings(max_wait=PATIENCE))
    await opened.start()
    yield opened
    proxy.closed = False
    await opened.close()
    await database.close()


async def cycle(journal: Journal, truth: Truth, tasks: int) -> None:
    """Take tasks through their life, all at once, in batches of many kinds."""
    session = await truth.session()

    async def live(index: int) -> None:
        op = insertion(lane=f"lane-{index % 3}")
        inserted = await journal.execute(op, patient=True)
        assert isinstance(inserted, Inserted)
        assert inserted.status is Status.QUEUED
        claimed: Claimed | None = None
        while claimed is None:
            claimed = await journal.execute(Want(op.lane, session), patient=True)
        if index % 3 == 0:
            back = Requeue(claimed.task, claimed.attempt, Status.WAITING, Charge.LOSS, "node_lost", delay=600)
            assert await journal.execute(back, patient=True) is not None
            assert await journal.execute(Cancel(claimed.task), patient=True) is not None
        else:
            end = Finish(claimed.task, claimed.attempt, Status.COMPLETED, 2, "1")
            assert await journal.execute(end, patient=True) is not None
        assert await journal.execute(Renew(session, 60), patient=True)

    async with asyncio.timeout(3 * PATIENCE):
        await asyncio.gather(*(live(index) for index in range(tasks)))


async def assert_each_lived_once(truth: Truth, tasks: int) -> None:
    """Every task is over, with each of its events once, and none was claimed or charged twice."""
    rows = await truth.database.all(select(TASKS))
    assert len(rows) == tasks
    ends = {"completed": 0, "canceled": 0}
    for row in rows:
        ends[row["status"]] += 1
        history = [id for id, _ in await truth.history(row["id"])]
        if row["status"] == "completed":
            assert (row["attempt"], row["losses"], history) == (1, 0, ["0-1", "1-1", "1-2"])
        else:
            assert (row["attempt"], row["losses"], history) == (3, 1, ["0-1", "1-1", "2-0", "3-0"])
    events = await truth.database.all(select(EVENTS.c.task_id))
    assert len(events) == 3 * ends["completed"] + 4 * ends["canceled"]


@pytest.mark.parametrize("moment", ["cut_answers", "cut_requests"])
async def test_commits_cut_off(postgres: Truth, proxy: Proxy, journal: Journal, moment: str) -> None:
    """R8: connections that die with COMMIT's answer, or just before COMMIT arrives, lose and repeat nothing."""
    setattr(proxy, moment, 12)
    await cycle(journal, postgres, 30)
    assert proxy.cuts > 0
    assert journal.statistics.reconnects >= proxy.cuts
    await assert_each_lived_once(postgres, 30)


async def test_connections_cut_at_random(postgres: Truth, proxy: Proxy, journal: Journal) -> None:
    """R8: the same when connections break at any moment."""
    done = asyncio.Event()

    async def saw() -> None:
        pause = 0.05
        while not done.is_set():
            await asyncio.sleep(pause)
            proxy.cut_all()
            pause *= 1.05  # a busy machine may need longer than that for one commit

    sawing = asyncio.ensure_future(saw())
    try:
        await cycle(journal, postgres, 60)
    finally:
        done.set()
        await sawing
    await assert_each_lived_once(postgres, 60)


async def test_a_commit_nobody_answers_for(postgres: Truth, proxy: Proxy, postgres_url: str) -> None:
    """R8: a submission that was committed while its answer was lost tells its caller the id to look for."""
    database = Database(proxy.url)
    journal = make_journal(database, JournalSettings(max_wait=0.5))
    await journal.start()
    try:
        session, ops = await postgres.session(), [insertion(), insertion()]
        proxy.cut_answers = 1
        renewing = asyncio.ensure_future(journal.execute(Renew(session, 60), patient=True))
        submitting = [asyncio.ensure_future(journal.execute(op)) for op in ops]
        await asyncio.sleep(0)
        proxy.closed = True
        outcomes = await asyncio.gather(*submitting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 2
        for op, outcome in zip(ops, outcomes, strict=True):
            assert op.id in str(outcome)
            assert (await postgres.task(op.id))["status"] == "queued"
        proxy.closed = False
        assert await renewing
        assert [len(await postgres.events(op.id)) for op in ops] == [1, 1]
    finally:
        await journal.close()
        await database.close()


async def test_the_server_ends_our_connection(postgres: Truth, proxy: Proxy, journal: Journal) -> None:
    """R8: a backend terminated by its server, as at a restart, is an outage and no bad row."""
    assert await accepts(journal)
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'neurogrid-journal'"
    )
    await postgres.database.all(text(kill + " AND datname = current_database()"))
    op = insertion()
    assert await accepts(journal, op)
    assert [id for id, _ in await postgres.history(op.id)] == ["0-1"]
