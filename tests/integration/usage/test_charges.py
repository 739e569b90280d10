"""A task is charged once, for what its last attempt used, in the transaction that ends it (LIM-7)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from neurogrid.core.ids import new_id, now
from neurogrid.protocol.messages import Usage
from neurogrid.queue import usage
from neurogrid.queue.answers import Claimed
from neurogrid.queue.ops import (
    Bill,
    Cancel,
    Expire,
    Finish,
    Idempotency,
    Insert,
    Replay,
    Requeue,
    Settle,
    Want,
)
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.tables import UsageDelta
from neurogrid.tasks.store import TaskStore
from neurogrid.usage.policy import Used
from tests.support.queue import insertion
from tests.support.truth import LONG_AGO, Truth, truth_of
from tests.support.usage import adds_up, charged

pytestmark = pytest.mark.asyncio

SPENT = Usage(prompt_tokens=5, completion_tokens=7, compute_seconds=0.25)
PAID = Used(1, 5, 7, 250_000)
FREE = Used(1)


def finish(task: Claimed, usage: Usage = SPENT, status: Status = Status.COMPLETED, **fields: Any) -> Finish:
    return Finish(task.task, task.attempt, status, 2, "1", usage=usage, **fields)


async def run(truth: Truth, **fields: Any) -> Claimed:
    return await truth.running(await truth.session(), **fields)


async def again(truth: Truth, op: Insert | Claimed, attempt: int) -> Claimed:
    """Have a session claim a task that is in its lane alone."""
    claimed = await truth.one(Want(op.lane, await truth.session()))
    assert isinstance(claimed, Claimed)
    assert claimed.attempt == attempt
    return claimed


def alike() -> dict[str, Any]:
    """Return what makes tasks share an execution."""
    return {"owner": new_id(), "lane": new_id(), "input_hash": new_id(), "deterministic": True}


async def test_a_task_by_key_model_and_day(truth: Truth) -> None:
    """A batch is one row for each user, key and model, of this day in UTC; a task that did not end is a request."""
    owner, key = new_id(), new_id()
    session = await truth.session()
    ops = [
        insertion(owner=owner, key_id=each, model=model, session=session)
        for each in (key, None)
        for model in "aab"
    ]
    await truth.do(*ops)
    before = now().date()
    await truth.do(*(Finish(op.id, 1, Status.COMPLETED, 2, "1", usage=SPENT) for op in ops[:5]))
    rows = await truth.database.all(
        select(UsageDelta).where(UsageDelta.user_id == owner).order_by(UsageDelta.id)
    )
    none = usage.NO_KEY
    assert sorted(
        (row["key_id"], row["model"], row["requests"], row["completion_tokens"]) for row in rows
    ) == sorted(
        [
            (key, "a", 2, 0),
            (key, "b", 1, 0),
            (none, "a", 2, 0),
            (none, "b", 1, 0),
            (key, "a", 0, 14),
            (key, "b", 0, 7),
            (none, "a", 0, 14),
        ]
    )
    assert {row["day"] for row in rows} <= {before, now().date()}
    assert await charged(truth.database, owner) == Used(6, 25, 35, 1_250_000)


async def test_only_the_last_attempt(truth: Truth) -> None:
    """What a lost or failed attempt used is not charged, and what it says afterwards is not, either."""
    first = await run(truth)
    await truth.one(Requeue(first.task, 1, Status.QUEUED, Charge.LOSS, "node_lost"))
    second = await again(truth, first, 2)
    assert await truth.one(finish(first)) is None
    assert await charged(truth.database) == FREE
    assert await truth.do(finish(second), finish(second, Usage(9, 9, 9.0))) != [None, None]
    assert await truth.one(finish(second)) is None
    assert await charged(truth.database) == PAID


async def test_dead_letters(truth: Truth) -> None:
    """One that lost all its nodes is charged nothing, one whose model failed what that used."""
    lost, failed = await run(truth), await run(truth)
    await truth.one(Requeue(lost.task, 1, Status.FAILED, Charge.LOSS, "node_lost", error="{}"))
    assert await charged(truth.database, lost.owner) == FREE
    await truth.one(finish(failed, status=Status.FAILED, error="{}", dead_letter=True))
    assert await charged(truth.database, failed.owner) == PAID


async def test_a_cancelled_task_is_charged_what_had_come_once(truth: Truth) -> None:
    """The bill of a stopped attempt counts once, however often it is sent, and no result comes on top."""
    task = await run(truth)
    await truth.one(Cancel(task.task))
    assert await truth.one(finish(task)) is None
    bill = Bill(task.task, 2, Usage(0, 3, 0.5))
    assert await truth.one(bill) is True
    for op in (bill, Bill(task.task, 2, SPENT), Bill(task.task, 1, SPENT)):
        assert await truth.one(op) is None
    assert await charged(truth.database) == Used(1, 0, 3, 500_000)


@pytest.mark.parametrize("end", ["cancel", "expire"])
async def test_what_never_ran_is_charged_nothing(truth: Truth, end: str) -> None:
    """A task that is cancelled or expires in the queue is a request and nothing else."""
    op = await truth.queued(deadline=now() + timedelta(hours=1))
    await truth.alter(op.id, deadline=LONG_AGO)
    assert await truth.one(Cancel(op.id) if end == "cancel" else Expire(op.id)) is not None
    assert await charged(truth.database) == FREE


async def test_followers_are_not_charged(truth: Truth) -> None:
    """Three identical tasks are three requests and one execution; the figures shown with each are not charged again."""
    twins = alike()
    ops = [insertion(**twins) for _ in range(3)]
    await truth.do(*ops)
    leader = await again(truth, ops[0], 1)
    done = await truth.one(finish(leader))
    assert len(done.heirs.finished) == 2
    await truth.one(Settle(leader.task))
    assert (await truth.task(ops[2].id))["completion_tokens"] == 7
    assert await charged(truth.database) == Used(3, 5, 7, 250_000)


async def test_an_heir_pays_for_itself(truth: Truth) -> None:
    """Cancelled in the middle, a leader is charged what had come, and its heir what it then used."""
    twins = alike()
    ops = [insertion(**twins) for _ in range(2)]
    await truth.do(*ops)
    leader = await again(truth, ops[0], 1)
    assert (await truth.one(Cancel(leader.task))).heirs.leader.task == ops[1].id
    await truth.one(Bill(leader.task, 2, Usage(0, 3, 0.5)))
    heir = await again(truth, ops[1], 2)
    assert await truth.one(finish(leader)) is None
    await truth.one(finish(heir))
    assert await charged(truth.database) == Used(2, 5, 10, 750_000)


async def test_run_again_and_deleted(truth: Truth) -> None:
    """A task run again is charged for both lives; deleted, it stays charged; what it was charged for is still known."""
    task = await run(truth, key_id=new_id())
    await truth.one(finish(task, status=Status.FAILED, error="{}"))
    await truth.one(Replay(task.task, task.owner))
    assert await charged(truth.database) == PAID
    await adds_up(truth.database)
    await truth.one(finish(await again(truth, task, 2)))
    both = Used(1, 10, 14, 500_000)
    assert await charged(truth.database) == both
    assert await TaskStore(truth.database).delete(task.task, task.owner)
    assert await charged(truth.database) == both


async def test_a_deleted_follower_is_not_charged(truth: Truth) -> None:
    """Nor is it when it is run again: neither keeps figures that were the leader's."""
    twins = alike()
    ops = [insertion(**twins) for _ in range(3)]
    await truth.do(*ops)
    await truth.one(finish(await again(truth, ops[0], 1), status=Status.FAILED, error="{}"))
    assert await TaskStore(truth.database).delete(ops[1].id, twins["owner"])
    await adds_up(truth.database)
    await truth.one(Replay(ops[2].id, twins["owner"]))
    await adds_up(truth.database)
    assert await TaskStore(truth.database).delete(ops[0].id, twins["owner"])
    assert await charged(truth.database) == Used(3, 5, 7, 250_000)


async def test_a_repeated_batch_is_charged_once(postgres: Truth) -> None:
    """R8: after a connection was lost between commit and answer the same batch is written again, and nothing is counted."""
    task, stopped, failed = await run(postgres), await run(postgres), await run(postgres)
    await postgres.one(Cancel(stopped.task))
    await postgres.one(finish(failed, status=Status.FAILED, error="{}"))
    twins: dict[str, Any] = {"owner": new_id(), "input_hash": new_id(), "deterministic": True}
    batch = (
        finish(task),
        Bill(stopped.task, 2, SPENT),
        Replay(failed.task, failed.owner),
        insertion(),
        insertion(**twins),
        insertion(**twins),
    )
    await postgres.do(*batch)
    before = await charged(postgres.database)
    assert before == Used(6, 15, 21, 750_000)
    await postgres.do(*batch, repeat=True)
    await postgres.do(*batch, repeat=True)
    assert await charged(postgres.database) == before


async def test_an_idempotent_repetition_is_no_request(truth: Truth) -> None:
    """R19: a key that stands for a task already makes none, and counts none."""
    owner = new_id()
    once = Idempotency("key", "hash")
    for _ in range(2):
        await truth.one(insertion(owner=owner, once=once))
    assert await charged(truth.database) == FREE


async def test_gateways_at_once(postgres: Truth, postgres_url: str) -> None:
    """Two gateways that write of the same users, keys and models at once wait for nobody, and every task counts."""
    owners = [new_id() for _ in range(3)]

    async def work(truth: Truth) -> None:
        session = await truth.session()
        for _ in range(5):
            ops = [insertion(owner=owner, session=session) for owner in owners for _ in range(4)]
            await truth.do(*ops)
            await truth.do(*(Finish(op.id, 1, Status.COMPLETED, 2, "1", usage=SPENT) for op in ops))

    async with truth_of(postgres_url) as other:
        await asyncio.gather(work(postgres), work(other))
    for owner in owners:
        assert await charged(postgres.database, owner) == Used(40, 200, 280, 10_000_000)


async def test_the_day_is_that_of_utc(postgres: Truth) -> None:
    """Whatever the zone of the server, the day of a moment is the one in UTC."""
    moments = (
        "(VALUES ('2026-11-30 23:59:59.999999+00'::timestamptz), ('2026-12-01 00:00:00+00')) AS v(created_at)"
    )
    rows = f"(SELECT '{new_id()}'::uuid AS owner_id, NULL::uuid AS key_id, 'm' AS model, created_at FROM {moments}) r"
    async with postgres.database.transaction() as transaction:
        for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
            await transaction.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))
            await transaction.execute(text(usage.accepted(rows)))
        days = (
            await transaction.execute(select(UsageDelta.day, UsageDelta.requests).order_by(UsageDelta.id))
        ).all()
        found = sorted((str(day), count) for day, count in days)
        assert found == [("2026-11-30", 1)] * 2 + [("2026-12-01", 1)] * 2
        await transaction.rollback()
