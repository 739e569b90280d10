"""A batch whose commit was answered by nobody is written again (R8): same answers, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest

from neurogrid.queue.answers import Claimed
from neurogrid.queue.ops import Cancel, Evict, Finish, Guard, Insert, Op, Renew, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from tests.support.queue import insertion
from tests.support.truth import Truth

pytestmark = pytest.mark.asyncio


def finish(task: Claimed, output: str = "1") -> Finish:
    return Finish(task.task, task.attempt, Status.COMPLETED, 2, output)


def requeue(task: Claimed, **fields: Any) -> Requeue:
    return Requeue(task.task, task.attempt, Status.QUEUED, Charge.LOSS, "node_lost", **fields)


async def twice(truth: Truth, *ops: Op) -> tuple[list[Any], list[Any]]:
    """Write a batch, forget the answers, and write it again as the journal does."""
    return await truth.do(*ops), await truth.do(*ops, repeat=True)


async def test_inserts(postgres: Truth) -> None:
    """A repeated insert finds its row: queued or running as it was, with its events once."""
    session = await postgres.session()
    await postgres.queued(lane="busy")
    ops = [insertion(lane="busy"), insertion(lane="busy", session=session), insertion(session=session)]
    first, second = await twice(postgres, *ops)
    assert second == first
    assert [answer.status for answer in first] == [Status.QUEUED, Status.QUEUED, Status.RUNNING]
    assert [len(await postgres.events(op.id)) for op in ops] == [1, 1, 2]


async def test_an_insert_that_moved_on_is_not_taken_for_running(postgres: Truth) -> None:
    """A fast-path task that was meanwhile taken from its session is answered as queued: nobody runs it here."""
    session = await postgres.session()
    op = insertion(session=session)
    assert (await postgres.one(op)).status is Status.RUNNING
    assert await postgres.one(Requeue(op.id, 1, Status.QUEUED, Charge.LOSS, "node_lost")) is not None
    other = await postgres.session("other")
    assert (await postgres.one(Want("echo", other))).attempt == 2
    assert (await postgres.one(op, repeat=True)).status is Status.QUEUED


async def test_inserts_that_were_not_committed(postgres: Truth) -> None:
    """A repeated insert of which nothing arrived is simply written."""
    op = insertion(session=await postgres.session())
    assert (await postgres.one(op, repeat=True)).status is Status.RUNNING
    assert await postgres.history(op.id) == [("0-1", "task.queued"), ("1-1", "task.running")]


async def test_claims(postgres: Truth) -> None:
    """A repeated claim brings the same task, not another one; an unanswered want may still be served."""
    session = await postgres.session()
    ops = [await postgres.queued() for _ in range(3)]
    wants = [Want("echo", session) for _ in range(2)]
    first, second = await twice(postgres, *wants)
    assert second == first
    assert {answer.task for answer in first} == {op.id for op in ops[:2]}
    assert (await postgres.task(ops[2].id))["status"] == "queued"
    empty = Want("later", session)
    assert await postgres.one(empty) is None
    late = await postgres.queued(lane="later")
    assert (await postgres.one(empty, repeat=True)).task == late.id
    assert [len(await postgres.events(op.id)) for op in ops] == [2, 2, 1]


async def test_finishes(postgres: Truth) -> None:
    """A repeated finish knows itself by its write id; somebody else's is still refused."""
    session = await postgres.session()
    task, other = await postgres.running(session), await postgres.running(session)
    assert await postgres.one(finish(other, "2")) is not None
    first, second = await twice(postgres, finish(task), finish(other))
    assert second == first
    assert first[0].status is Status.COMPLETED
    assert first[1] is None
    assert [id for id, _ in await postgres.history(task.task)] == ["0-1", "1-1", "1-2"]
    assert (await postgres.task(other.task))["output"] == "2"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.WAITING, Status.FAILED])
async def test_requeues(postgres: Truth, status: Status) -> None:
    """A repeated requeue moved the task once, charged it once, and says the same."""
    session = await postgres.session()
    task = await postgres.running(session)
    op = Requeue(task.task, 1, status, Charge.ERROR, "error", delay=5, guard=Guard.HELD, session=session)
    (first,), (second,) = await twice(postgres, op)
    assert second == first
    assert (first.attempt, first.status) == (2, status)
    row = await postgres.task(task.task)
    assert (row["attempt"], row["errors"]) == (2, 1)
    assert [id for id, _ in await postgres.history(task.task)] == ["0-1", "1-1", "2-0"]


async def test_a_requeue_overtaken_is_stale(postgres: Truth) -> None:
    """A task claimed anew between commit and repetition is no longer ours to announce, nor to move."""
    session = await postgres.session()
    task = await postgres.running(session)
    op = requeue(task)
    assert await postgres.one(op) is not None
    assert await postgres.one(Want(task.lane, session)) is not None
    assert await postgres.one(op, repeat=True) is None
    assert (await postgres.task(task.task))["attempt"] == 2


async def test_cancels(postgres: Truth) -> None:
    """A repeated cancel is the same cancel; only who ran the task is no longer known."""
    task = await postgres.running(await postgres.session())
    (first,), (second,) = await twice(postgres, Cancel(task.task, task.owner))
    assert (second.task, second.owner, second.attempt, second.at) == (
        first.task, first.owner, first.attempt, first.at,
    )  # fmt: skip
    assert second.session is None
    assert [id for id, _ in await postgres.history(task.task)] == ["0-1", "1-1", "2-0"]
    over = await postgres.running(await postgres.session())
    assert await postgres.one(finish(over)) is not None
    assert await postgres.one(Cancel(over.task), repeat=True) is None


async def test_renewals_and_evictions(postgres: Truth) -> None:
    """Renewing twice prolongs; a session that is gone stays gone."""
    session, lost = await postgres.session(), await postgres.session()
    await postgres.expire(lost)
    first, second = await twice(postgres, Renew(session, 60), Evict(lost))
    assert first == [True, True]
    assert second[0] is True
    assert set(await postgres.sessions()) == {session.id}


async def test_a_whole_batch(postgres: Truth) -> None:
    """All kinds together, as they come in practice: every answer again, every event once."""
    session = await postgres.session()
    tasks = [await postgres.running(session) for _ in range(3)]
    waiting = [await postgres.queued(lane="lane") for _ in range(2)]
    fresh = [insertion(lane=f"new-{i}", session=session) for i in range(3)]
    ops: list[Op] = [
        Renew(session, 60), finish(tasks[0]), requeue(tasks[1]), Cancel(tasks[2].task),
        *(Want("lane", session) for _ in range(3)), *fresh,
    ]  # fmt: skip
    first, second = await twice(postgres, *ops)
    canceled = next(i for i, op in enumerate(ops) if isinstance(op, Cancel))
    assert second[:canceled] == first[:canceled]
    assert second[canceled + 1 :] == first[canceled + 1 :]
    everything = [*(task.task for task in tasks), *(op.id for op in [*waiting, *fresh])]
    assert [len(await postgres.events(task)) for task in everything] == [3, 3, 3, 2, 2, 2, 2, 2]
    assert sum(isinstance(op, Insert) for op in ops) == 3
