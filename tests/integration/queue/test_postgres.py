"""What the journal asks of PostgreSQL, and what it makes of its errors."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any, cast

import asyncpg
import pytest
from sqlalchemy import Executable, make_url, select

from neurogrid.core.ids import new_id
from neurogrid.queue import statements
from neurogrid.queue.ops import Finish, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.postgres import PostgresWriter
from neurogrid.queue.writer import ConnectionLost, Transient
from tests.support.queue import insertion
from tests.support.truth import TASKS, Truth

pytestmark = pytest.mark.asyncio


def connection_of(truth: Truth) -> asyncpg.Connection[Any]:
    writer = cast("PostgresWriter", truth.writer)
    assert writer._connection is not None
    return writer._connection


def locking(task: str) -> Executable:
    """Return what locks a task's row until the end of a transaction."""
    return select(TASKS.c.id).where(TASKS.c.id == task).with_for_update()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("idle_in_transaction_session_timeout", "2s"),
        ("lock_timeout", "1s"),
        ("statement_timeout", "4s"),
        ("plan_cache_mode", "force_custom_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
        ("application_name", "neurogrid-journal"),
    ],
)
async def test_session_settings_are_in_force(postgres: Truth, setting: str, value: str) -> None:
    """R10, R13: the journal's session gives up locks by itself and plans for the table as it is."""
    assert await connection_of(postgres).fetchval(f"SHOW {setting}") == value


async def test_claims_use_their_index(postgres: Truth) -> None:
    """R13, R15: on a young table as on an old one a claim reads `ix_tasks_claim` in order, and sorts no table."""
    session = await postgres.session()
    await postgres.do(*(insertion(lane=f"lane-{i % 3}") for i in range(200)))
    arguments: list[list[Any]] = [["lane-0"], [session.id], [session.gen], ["node"], [new_id()]]
    arguments += [["lane-0"] * 3, [0, 1, 2], [0.0, 0.5, 0.0]]
    for analyzed in (False, True):
        if analyzed:
            await connection_of(postgres).execute("ANALYZE tasks")
        rows = await connection_of(postgres).fetch(f"EXPLAIN {statements.CLAIM}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        assert "Index Scan using ix_tasks_claim" in plan
        assert re.search(r"Index Cond: .*rank >= ", plan)
        assert "Seq Scan on tasks" not in plan
        assert "Hash Join" not in plan
        assert "Merge Join" not in plan


async def test_ends_go_by_key(postgres: Truth) -> None:
    """R11, R13: ends are found one by one, by key, in the order given, even on a table nobody analyzed yet."""
    session = await postgres.session()
    await postgres.do(*(insertion(session=session) for _ in range(200)))
    op = Finish(new_id(), 1, Status.COMPLETED, 2)
    columns: list[list[Any]] = [
        [op.task], [1], ["completed"], [2], [None], [False], [None], [0], [False], [0], [0], [0.0],
        [op.write_id], ["{}"],
    ]  # fmt: skip
    rows = await connection_of(postgres).fetch(f"EXPLAIN {statements.FINISH}", *columns)
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using pk_tasks on tasks" in plan
    # Who waits for the owner to have less running is not looked up by key.
    assert "ix_tasks" not in plan.replace("ix_tasks_held on tasks w", "")


async def test_a_held_lock_is_waited_for_a_second(postgres: Truth) -> None:
    """R10: a row locked elsewhere fails the batch as transient within `lock_timeout`; nothing of it is written."""
    task = await postgres.running(await postgres.session())
    other = insertion()
    finish = Finish(task.task, 1, Status.COMPLETED, 2)
    async with postgres.database.transaction() as holder:
        await holder.execute(locking(task.task))
        with pytest.raises(Transient):
            await postgres.do(finish, other)
    assert await postgres.history(other.id) == []
    answers = await postgres.do(finish, other)
    assert all(answer is not None for answer in answers)


async def test_claims_pass_by_what_is_locked(postgres: Truth) -> None:
    """R15: a claim does not wait for a row that somebody else has in hand; it takes the next."""
    first, second = await postgres.queued(), await postgres.queued()
    session = await postgres.session()
    async with postgres.database.transaction() as holder:
        await holder.execute(locking(first.id))
        assert (await postgres.one(Want("echo", session))).task == second.id
        assert await postgres.one(Want("echo", session)) is None
    assert (await postgres.one(Want("echo", session))).task == first.id


async def test_crossing_batches_do_not_deadlock(postgres: Truth, postgres_url: str) -> None:
    """R11: two gateways that move the same tasks in opposite orders lock them in one order."""
    session = await postgres.session()
    tasks = [await postgres.running(session) for _ in range(40)]
    other = PostgresWriter(make_url(postgres_url))
    await other.connect()
    try:
        moves = [Requeue(task.task, 1, Status.QUEUED, Charge.NONE, "handed_back") for task in tasks]
        theirs = Truth(postgres.database, other)
        answers = await asyncio.gather(postgres.do(*moves), theirs.do(*reversed(moves)))
        ours, reverse = answers
        moved = [a is not None for a in ours]
        also = [a is not None for a in reversed(reverse)]
        assert [a != b for a, b in zip(moved, also, strict=True)] == [True] * 40
    finally:
        await other.close()


@pytest.mark.parametrize(
    "change", [{"password": "wrong"}, {"database": "nowhere"}, {"host": "127.0.0.1", "port": 1}]
)
async def test_whatever_keeps_from_connecting_is_an_outage(postgres_url: str, change: dict[str, Any]) -> None:
    """R8: no database, no access, no server: all mean that the journal tries again, and no row is to blame."""
    url = make_url(postgres_url)
    if "password" in change:
        change = {"username": "nobody", "password": "wrong"}
    if "host" in change:
        url = url.set(query={})
    writer = PostgresWriter(url.set(**change))
    with pytest.raises(ConnectionLost):
        await writer.connect()
    await writer.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SET SESSION default_transaction_read_only = on",
        "SELECT pg_terminate_backend(pg_backend_pid())",
    ],
)
async def test_trouble_of_the_server_is_no_bad_row(postgres: Truth, statement: str) -> None:
    """R9: a stand-by, a shutdown: look for the server anew and repeat, whatever the batch holds."""
    with contextlib.suppress(asyncpg.PostgresError):
        await connection_of(postgres).execute(statement)
    op = insertion()
    with pytest.raises(ConnectionLost):
        await postgres.one(op)
    await postgres.writer.connect()
    assert (await postgres.one(op)).status is Status.QUEUED


async def test_a_statement_that_takes_too_long_is_repeated(postgres: Truth) -> None:
    """R10: `statement_timeout` rolls the batch back; no row is to blame."""
    task = await postgres.running(await postgres.session())
    await connection_of(postgres).execute("SET SESSION statement_timeout = '20ms'")
    async with postgres.database.transaction() as holder:
        await holder.execute(locking(task.task))
        with pytest.raises(Transient):
            await postgres.one(Finish(task.task, 1, Status.COMPLETED, 2))
    assert (await postgres.task(task.task))["status"] == "running"
