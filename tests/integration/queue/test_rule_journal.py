"""Rules about the journal and its tables that no other test of the queue holds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import make_url, select, text

from neurogrid.core import db
from neurogrid.core.ids import new_id
from neurogrid.protocol.events import EventId
from neurogrid.queue.answers import Duplicate, Inserted
from neurogrid.queue.ops import Bill, Cancel, Evict, Expire, Finish, Idempotency, Renew, Replay, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.postgres import PostgresWriter
from neurogrid.queue.sessions import Sessions
from neurogrid.queue.tables import IdempotencyKey
from neurogrid.queue.views import QueueViews
from neurogrid.queue.writer import RowRejected
from neurogrid.tasks.records import TaskRecords
from neurogrid.tasks.store import TaskStore
from tests.support.queue import insertion
from tests.support.truth import LEASE, LONG_AGO, Truth
from tests.support.until import until

pytestmark = pytest.mark.asyncio

KEYS = IdempotencyKey.__table__


async def test_leases_run_by_the_clock_of_the_database(
    postgres: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2: a gateway whose clock is an hour ahead neither gives longer leases nor takes others' for expired."""
    session = await postgres.session()
    node = (await postgres.sessions())[session.id]["node_id"]
    monkeypatch.setattr(db, "now", lambda: datetime.now(UTC) + timedelta(hours=1))
    assert await postgres.upkeep.expired() == ([], [])
    assert await Sessions(postgres.database).present([node]) == {node}
    assert await QueueViews(postgres.database).load_by_node() == {node: 0}
    ahead = await postgres.session("other")
    leases = await postgres.sessions()
    difference = leases[ahead.id]["lease_until"] - leases[session.id]["lease_until"]
    assert abs(difference) < timedelta(seconds=LEASE)


async def test_only_the_session_that_was_seen_is_evicted(truth: Truth) -> None:
    """R3: who saw a session expire deletes it in that generation, and no later one."""
    node = new_id()
    seen = await truth.upkeep.attach(node, "node", None, embedded=False)
    current = await truth.upkeep.attach(node, "node", seen.id, embedded=False)
    await truth.expire(current)
    assert await truth.one(Evict(seen)) is None
    assert await truth.one(Evict(current)) is True


async def test_crossing_keys_do_not_deadlock(postgres: Truth, postgres_url: str) -> None:
    """R11: two gateways that are sent the same idempotency keys in opposite orders lock them in one order."""
    other = PostgresWriter(make_url(postgres_url))
    await other.connect()
    theirs = Truth(postgres.database, other)
    owner, keys = new_id(), [f"key-{number}" for number in range(9)]
    ours = [insertion(owner=owner, once=Idempotency(key, "h")) for key in keys]
    same = [insertion(owner=owner, once=Idempotency(key, "h")) for key in reversed(keys)]
    try:
        async with postgres.database.transaction() as holder:
            # Both wait for the key in the middle, with those before it in their hands.
            middle = KEYS.insert().values(  # type: ignore[attr-defined]
                owner_id=owner, key=keys[4], body_hash="h", task_id=new_id(), expires_at=LONG_AGO
            )
            await holder.execute(middle)
            both = asyncio.gather(postgres.do(*ours), theirs.do(*same))
            await until(lambda: two_wait(postgres))
            await holder.rollback()
        mine, others = await both
    finally:
        await other.close()
    winners = [isinstance(answer, Inserted) for answer in mine]
    assert winners == [isinstance(answer, Duplicate) for answer in reversed(others)]


async def two_wait(truth: Truth) -> bool:
    """Tell whether two writers of this database wait for a lock."""
    waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
    row = await truth.database.first(text(f"{waiting} AND wait_event_type = 'Lock'"))
    return row is not None and row["n"] == 2


async def test_who_comes_back_is_ranked_at_the_present(truth: Truth) -> None:
    """R16: a task put back, or replayed, after a long time is ranked where claims with a floor will look."""
    session = await truth.session()
    back, again = await truth.running(session, lane="lane"), await truth.running(session, lane="lane")
    await truth.one(Finish(again.task, 1, Status.FAILED, 2, error="{}"))
    await truth.upkeep.sync_clocks({("lane", back.priority): 30.0})
    await truth.one(Requeue(back.task, 1, Status.QUEUED, Charge.NONE, "handed_back"))
    await truth.one(Replay(again.task, again.owner))
    ranks = [(await truth.one(Want("lane", session, (30.0, 30.0, 30.0)))).rank for _ in range(2)]
    assert ranks == [30.0, 31.0]


async def test_tasks_have_room_and_are_vacuumed_early(postgres: Truth) -> None:
    """R13: the migrated table of tasks leaves room on its pages and is vacuumed at a fiftieth of its rows."""
    row = await postgres.database.first(text("SELECT reloptions FROM pg_class WHERE oid = 'tasks'::regclass"))
    assert row is not None
    assert set(row["reloptions"]) == {
        "fillfactor=70",
        "autovacuum_vacuum_scale_factor=0.02",
        "autovacuum_analyze_scale_factor=0.02",
    }


async def test_a_key_lives_and_dies_with_its_task(truth: Truth) -> None:
    """R19: the key is in the task's own transaction: where the task is not written, the key is free."""
    once = Idempotency("k", "hash")
    bad = insertion(once=once, input='"\ud800"')
    with pytest.raises(RowRejected):
        await truth.one(bad)
    good = insertion(owner=bad.owner, once=once)
    assert isinstance(await truth.one(good), Inserted)
    row = await truth.database.first(select(KEYS))
    assert row is not None
    assert row["task_id"] == good.id


async def test_a_key_is_replaced_after_a_day(truth: Truth) -> None:
    """R19: for 24 hours a key stands for its task; past them it stands for the next one, by the same statement."""
    owner, once = new_id(), Idempotency("k", "hash")
    first, second, third = (insertion(owner=owner, once=once) for _ in range(3))
    created = (await truth.one(first)).created_at
    assert await truth.one(second) == Duplicate(first.id, "hash")
    row = await truth.database.first(select(KEYS.c.expires_at))
    assert row is not None
    assert abs(row["expires_at"] - created - timedelta(hours=24)) < timedelta(minutes=1)
    await truth.change(KEYS.update().values(expires_at=LONG_AGO))  # type: ignore[attr-defined]
    assert isinstance(await truth.one(second), Inserted)
    assert await truth.one(third) == Duplicate(second.id, "hash")


async def test_a_late_commit_is_not_passed_over(postgres: Truth, postgres_url: str) -> None:
    """R25: what a transaction that began first, and commits last, wrote, is still after every cursor given out."""
    owner = new_id()
    records = TaskRecords(TaskStore(postgres.database))
    _, cursor = await records.owner_events(owner, None, 10)
    other = PostgresWriter(make_url(postgres_url))
    await other.connect()
    connection = other._connection
    assert connection is not None
    early, late = insertion(owner=owner), insertion(owner=owner)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetchval("SELECT pg_current_xact_id()::text")
        await postgres.one(late)
        found, between = await records.owner_events(owner, cursor, 10)
        await Truth(postgres.database, other).one(early)
        await transaction.commit()
    finally:
        await other.close()
    assert (found, between) == ([], cursor)

    async def told() -> list[str]:
        # Transactions of other tests, in other databases, hold the snapshot up, too.
        events, _ = await records.owner_events(owner, cursor, 10)
        return [event.task for _, event in events] if len(events) > 1 else []

    assert await until(told) == [early.id, late.id]


async def test_a_newer_schema_is_no_hindrance(truth: Truth) -> None:
    """R30: columns that a later release added to every table disturb no statement of this one."""
    for table in ("tasks", "task_events", "task_outputs", "node_sessions", "lanes", "lane_clock", "nodes"):
        await truth.change(text(f"ALTER TABLE {table} ADD COLUMN later TEXT DEFAULT 'unknown'"))
    await truth.change(text("ALTER TABLE idempotency_keys ADD COLUMN later TEXT DEFAULT 'unknown'"))
    await truth.writer.connect()
    session = await truth.session()
    once = Idempotency("k", "hash")
    fast = insertion(session=session, once=once)
    assert (await truth.one(fast)).status is Status.RUNNING
    assert await truth.one(insertion(owner=fast.owner, once=once)) == Duplicate(fast.id, "hash")
    assert await truth.one(Renew(session, 1.0)) is True
    back = await truth.one(Requeue(fast.id, 1, Status.QUEUED, Charge.NONE, "handed_back"))
    assert (back.attempt, back.status) == (2, Status.QUEUED)
    claimed = await truth.one(Want(fast.lane, session))
    assert (claimed.task, claimed.attempt, claimed.session) == (fast.id, 2, session.id)
    assert (await truth.one(Finish(fast.id, 2, Status.COMPLETED, 3, '"out"'))).final_seq == 3
    late = await truth.queued(deadline=LONG_AGO)
    assert (await truth.one(Expire(late.id))).attempt == 2
    assert await truth.one(Bill(late.id, 2, Finish(late.id, 2, Status.FAILED, 1).usage)) is True
    assert (await truth.one(Replay(late.id, late.owner))).attempt == 3
    assert (await truth.one(Cancel(late.id))).attempt == 4
    await truth.expire(session)
    assert (await truth.upkeep.expired())[1] == [type(session)(session.id, session.gen, "")]
    assert await truth.one(Evict(session)) is True
    store = TaskStore(truth.database)
    shown = await store.get(fast.id, fast.owner)
    assert shown is not None
    assert (shown["status"], shown["output"]) == ("completed", '"out"')
    assert len(await store.events(late.id, EventId(0, 0))) == 4
