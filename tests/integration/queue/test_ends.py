"""The end of an attempt: finished, tried again, or cancelled; and only once."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from neurogrid.core.ids import new_id
from neurogrid.protocol.messages import Usage
from neurogrid.queue.answers import Canceled, Claimed, Finished, Requeued
from neurogrid.queue.ops import Cancel, Finish, Guard, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from tests.support.truth import Truth

pytestmark = pytest.mark.asyncio

FAILURE = '{"code":"boom","message":"it broke"}'


def completion(task: Claimed, **fields: Any) -> Finish:
    usual: dict[str, Any] = {"status": Status.COMPLETED, "final_seq": 5, "output": '{"text":"ok"}'}
    return Finish(task.task, task.attempt, **{**usual, **fields})


def back(task: Claimed, **fields: Any) -> Requeue:
    usual: dict[str, Any] = {"status": Status.QUEUED, "charge": Charge.NONE, "reason": "handed_back"}
    return Requeue(task.task, task.attempt, **{**usual, **fields})


async def test_a_result_is_the_row(truth: Truth) -> None:
    """R11, R21: one statement sets output, usage, end and final event, whose id is the node's last + 1."""
    session = await truth.session()
    task = await truth.running(session)
    answer = await truth.one(completion(task, usage=Usage(3, 4, 0.5)))
    assert isinstance(answer, Finished)
    assert (answer.task, answer.owner, answer.attempt) == (task.task, task.owner, 1)
    assert (answer.final_seq, answer.status, answer.node) == (5, Status.COMPLETED, "node")
    assert answer.finished_at >= answer.started_at
    row = await truth.task(task.task)
    assert (row["status"], row["output"], row["final_seq"], row["session_id"]) == (
        "completed", '{"text":"ok"}', 5, None,
    )  # fmt: skip
    assert (row["prompt_tokens"], row["completion_tokens"], row["compute_seconds"]) == (3, 4, 0.5)
    final = (await truth.events(task.task))[-1]
    assert (final.id, final.type) == ("1-5", "task.completed")
    assert final.data["usage"]["total_tokens"] == 7


async def test_a_failure_charges_and_says_why(truth: Truth) -> None:
    """R1: a final error counts, keeps its reason, and a used-up task is a dead letter."""
    task = await truth.running(await truth.session())
    op = completion(
        task, status=Status.FAILED, output=None, error=FAILURE, charge=Charge.ERROR, dead_letter=True
    )
    assert (await truth.one(op)).status is Status.FAILED
    row = await truth.task(task.task)
    assert (row["status"], row["error"], row["errors"], row["dead_letter"]) == ("failed", FAILURE, 1, True)
    final = (await truth.events(task.task))[-1]
    assert (final.id, final.type) == ("1-5", "task.failed")
    assert final.data["error"] == {"code": "boom", "message": "it broke"}
    assert final.data["dead_letter"] is True


async def test_a_task_is_finished_once(truth: Truth) -> None:
    """Law 3: a result of a task that is over, or was never running, is refused."""
    task = await truth.running(await truth.session())
    assert await truth.one(completion(task)) is not None
    assert await truth.one(completion(task, output='"other"')) is None
    assert (await truth.task(task.task))["output"] == '{"text":"ok"}'
    assert [id for id, _ in await truth.history(task.task)] == ["0-1", "1-1", "1-5"]
    queued = await truth.queued()
    assert await truth.one(Finish(queued.id, 1, Status.COMPLETED, 2)) is None
    assert await truth.one(Finish(new_id(), 1, Status.COMPLETED, 2)) is None


async def test_equal_results_in_one_batch_count_once(truth: Truth) -> None:
    """Law 3: a result presented over two connections at the same moment is accepted over one of them."""
    task = await truth.running(await truth.session())
    answers = await truth.do(completion(task), completion(task))
    assert sum(answer is not None for answer in answers) == 1
    moved = await truth.running(await truth.session())
    answers = await truth.do(back(moved), back(moved))
    assert sum(answer is not None for answer in answers) == 1
    assert (await truth.task(moved.task))["attempt"] == 2
    answers = await truth.do(Cancel(moved.task), Cancel(moved.task))
    assert sum(answer is not None for answer in answers) == 1


async def test_a_stale_attempt_is_refused(truth: Truth) -> None:
    """R1: after a hand-back the fence is higher; the former attempt can neither finish nor hand back."""
    session = await truth.session()
    task = await truth.running(session)
    assert (await truth.one(back(task))).attempt == 2
    again = await truth.one(Want(task.lane, session))
    assert (again.task, again.attempt) == (task.task, 2)
    assert await truth.one(completion(task)) is None
    assert await truth.one(back(task)) is None
    assert (await truth.one(completion(again))).attempt == 2
    assert await truth.history(task.task) == [
        ("0-1", "task.queued"), ("1-1", "task.running"), ("2-0", "task.retrying"), ("2-1", "task.running"),
        ("2-5", "task.completed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("charge", "errors", "losses"), [(Charge.NONE, 0, 0), (Charge.ERROR, 1, 0), (Charge.LOSS, 0, 1)]
)
async def test_what_an_attempt_costs(truth: Truth, charge: Charge, errors: int, losses: int) -> None:
    """R1: errors and losses are counted apart from the fence; a hand-back charges neither."""
    task = await truth.running(await truth.session())
    answer = await truth.one(back(task, charge=charge, reason="why"))
    assert isinstance(answer, Requeued)
    assert (answer.task, answer.owner, answer.lane) == (task.task, task.owner, task.lane)
    assert (answer.attempt, answer.status) == (2, Status.QUEUED)
    row = await truth.task(task.task)
    assert (row["status"], row["attempt"], row["session_id"]) == ("queued", 2, None)
    assert (row["errors"], row["losses"], row["dead_letter"]) == (errors, losses, False)
    event = (await truth.events(task.task))[-1]
    assert (event.id, event.type) == ("2-0", "task.retrying")
    assert event.data == {"status": "queued", "reason": "why"}


async def test_backoff_waits(truth: Truth) -> None:
    """R15: a task in backoff is `waiting`, not claimable, until its time has come."""
    session = await truth.session()
    task = await truth.running(session)
    op = back(task, status=Status.WAITING, charge=Charge.ERROR, reason="error", delay=300, error=FAILURE)
    assert (await truth.one(op)).status is Status.WAITING
    row = await truth.task(task.task)
    assert (row["status"], row["wait_reason"], row["error"]) == ("waiting", "backoff", None)
    assert 290 < (row["run_at"] - row["started_at"]).total_seconds() < 400
    event = (await truth.events(task.task))[-1]
    assert event.data["delay_seconds"] == 300
    assert event.data["error"]["code"] == "boom"
    assert await truth.one(Want(task.lane, session)) is None
    assert await truth.upkeep.promote() == []
    await truth.alter(task.task, run_at=row["started_at"])
    assert await truth.upkeep.promote() == [task.lane]
    assert await truth.upkeep.promote() == []
    row = await truth.task(task.task)
    assert (row["status"], row["wait_reason"], row["run_at"]) == ("queued", None, None)
    assert (await truth.one(Want(task.lane, session))).attempt == 2


async def test_used_up_charges_end_in_the_dead_letters(truth: Truth) -> None:
    """R1: the move that uses up the last charge fails the task, as the opening of an attempt that never runs."""
    task = await truth.running(await truth.session())
    op = back(task, status=Status.FAILED, charge=Charge.LOSS, reason="node_lost", error=FAILURE)
    assert (await truth.one(op)).status is Status.FAILED
    row = await truth.task(task.task)
    assert (row["status"], row["dead_letter"], row["losses"], row["error"]) == ("failed", True, 1, FAILURE)
    assert (row["attempt"], row["final_seq"]) == (2, 0)
    assert row["finished_at"] is not None
    event = (await truth.events(task.task))[-1]
    assert (event.id, event.type, event.data["dead_letter"]) == ("2-0", "task.failed", True)


@pytest.mark.parametrize("trouble", ["none", "stale", "other", "gone"])
async def test_a_hand_back_needs_the_session(truth: Truth, trouble: str) -> None:
    """R3: only who holds the task in the current generation of its session hands it back."""
    session = await truth.session()
    task = await truth.running(session)
    holder = session
    if trouble == "stale":
        holder = replace(session, gen=session.gen - 1)
    elif trouble == "other":
        holder = await truth.session("other")
    elif trouble == "gone":
        await truth.forget(session)
    answer = await truth.one(back(task, guard=Guard.HELD, session=holder))
    assert (answer is not None) == (trouble == "none")
    assert (await truth.task(task.task))["status"] == ("queued" if trouble == "none" else "running")


@pytest.mark.parametrize("expired", [True, False])
async def test_the_sweeper_takes_only_from_expired_sessions(truth: Truth, *, expired: bool) -> None:
    """R4: a lease renewed between the sweeper's look and its move keeps the task where it is."""
    session = await truth.session()
    task = await truth.running(session)
    if expired:
        await truth.expire(session)
    stale = replace(session, gen=session.gen + 1)
    assert await truth.one(back(task, guard=Guard.EXPIRED, session=stale)) is None
    answer = await truth.one(back(task, guard=Guard.EXPIRED, session=session, charge=Charge.LOSS))
    assert (answer is not None) == expired


async def test_only_orphans_are_taken_as_orphans(truth: Truth) -> None:
    """R4: a running task is an orphan only while its session does not exist."""
    session = await truth.session()
    task, bare = await truth.running(session), await truth.running(session)
    assert await truth.one(back(task, guard=Guard.ORPHANED)) is None
    await truth.alter(bare.task, session_id=None)
    assert (await truth.one(back(bare, guard=Guard.ORPHANED))).attempt == 2
    await truth.forget(session)
    assert (await truth.one(back(task, guard=Guard.ORPHANED))).attempt == 2


@pytest.mark.parametrize("status", ["queued", "waiting", "running"])
async def test_a_cancel_ends_any_live_task(truth: Truth, status: str) -> None:
    """R1: a cancel raises the fence, says which session ran the task, and ends with `<n>-0`."""
    session = await truth.session()
    task = await truth.running(session)
    if status != "running":
        op = back(task, status=Status(status), charge=Charge.ERROR, delay=60)
        assert (await truth.one(op)).status == status
    before = (await truth.task(task.task))["attempt"]
    answer = await truth.one(Cancel(task.task, task.owner))
    holder = session.id if status == "running" else None
    assert answer == Canceled(task.task, task.owner, before + 1, holder, answer.at)
    row = await truth.task(task.task)
    assert (row["status"], row["attempt"], row["final_seq"]) == ("canceled", before + 1, 0)
    assert (row["session_id"], row["wait_reason"], row["run_at"]) == (None, None, None)
    assert (await truth.history(task.task))[-1] == (f"{before + 1}-0", "task.canceled")
    assert await truth.one(completion(task)) is None
    assert await truth.one(Want(task.lane, session)) is None


async def test_only_the_owner_cancels(truth: Truth) -> None:
    """Nobody cancels a foreign task, one that is over, or one that never was."""
    task = await truth.running(await truth.session())
    assert await truth.one(Cancel(task.task, new_id())) is None
    assert await truth.one(Cancel(new_id(), task.owner)) is None
    assert (await truth.task(task.task))["status"] == "running"
    assert (await truth.one(Cancel(task.task))).attempt == 2
    assert await truth.one(Cancel(task.task, task.owner)) is None


async def test_result_and_cancel_in_one_batch(truth: Truth) -> None:
    """R12: a result that arrives together with its cancel wins, since it was there; the task ends once."""
    task = await truth.running(await truth.session())
    canceled, finished = await truth.do(Cancel(task.task, task.owner), completion(task))
    assert canceled is None
    assert finished.status is Status.COMPLETED
    assert [id for id, _ in await truth.history(task.task)] == ["0-1", "1-1", "1-5"]
