"""What happens to a task from outside its attempts: its deadline, the bill of a stopped attempt, replay."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from neurogrid.core.ids import new_id
from neurogrid.protocol.messages import Usage
from neurogrid.queue.answers import Claimed, Expired, Requeued
from neurogrid.queue.ops import Bill, Cancel, Expire, Finish, Replay, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from neurogrid.usage.reconciliation import Reconciliation
from tests.support.truth import LONG_AGO, Truth

pytestmark = pytest.mark.asyncio

FAR = datetime(2999, 1, 1, tzinfo=UTC)
FAILURE = '{"code":"boom","message":"it broke"}'


async def standing(truth: Truth, status: str, **values: Any) -> Claimed:
    """Return a task that has been running and now has a status; ``values`` are put into its row."""
    task = await truth.running(await truth.session())
    if status in {"queued", "waiting"}:
        await truth.one(Requeue(task.task, 1, Status(status), Charge.ERROR, "error", delay=60))
    elif status == "canceled":
        await truth.one(Cancel(task.task))
    elif status in {"failed", "completed"}:
        error = FAILURE if status == "failed" else None
        await truth.one(
            Finish(task.task, 1, Status(status), 5, error=error, charge=Charge.ERROR, dead_letter=bool(error))
        )
    if values:
        await truth.alter(task.task, **values)
    return task


@pytest.mark.parametrize("status", ["queued", "waiting", "running"])
async def test_a_passed_deadline_fails_any_live_task(truth: Truth, status: str) -> None:
    """R1, R21: a task that misses its deadline fails uncharged, its fence rises, and `<n>-0` says so."""
    task = await standing(truth, status, deadline=LONG_AGO)
    before = await truth.task(task.task)
    assert await truth.upkeep.overdue() == [task.task]
    answer = await truth.one(Expire(task.task))
    holder = task.session if status == "running" else None
    assert answer == Expired(task.task, task.owner, before["attempt"] + 1, holder, answer.at)
    row = await truth.task(task.task)
    assert (row["status"], row["attempt"], row["final_seq"]) == ("failed", before["attempt"] + 1, 0)
    assert (row["errors"], row["losses"], row["dead_letter"]) == (before["errors"], 0, False)
    assert (row["session_id"], row["wait_reason"], row["run_at"]) == (None, None, None)
    assert "deadline_exceeded" in row["error"]
    event = (await truth.events(task.task))[-1]
    assert (event.id, event.type) == (f"{row['attempt']}-0", "task.failed")
    assert event.data["error"]["code"] == "deadline_exceeded"
    assert await truth.one(Finish(task.task, before["attempt"], Status.COMPLETED, 5)) is None
    assert await truth.one(Want(task.lane, await truth.session())) is None
    assert await truth.upkeep.overdue() == []


@pytest.mark.parametrize("deadline", [None, FAR])
async def test_a_deadline_to_come_fails_nothing(truth: Truth, deadline: datetime | None) -> None:
    """The database's clock decides: a gateway whose clock is ahead fails no task early."""
    task = await standing(truth, "running", deadline=deadline)
    assert await truth.upkeep.overdue() == []
    assert await truth.one(Expire(task.task)) is None
    assert (await truth.task(task.task))["status"] == "running"


@pytest.mark.parametrize("status", ["completed", "failed", "canceled"])
async def test_a_finished_task_has_no_deadline(truth: Truth, status: str) -> None:
    """Law 3: what is over when its deadline passes stays as it is."""
    task = await standing(truth, status, deadline=LONG_AGO)
    before = await truth.history(task.task)
    assert await truth.upkeep.overdue() == []
    assert await truth.one(Expire(task.task)) is None
    assert await truth.history(task.task) == before


async def test_result_deadline_and_cancel_in_one_batch(truth: Truth) -> None:
    """Law 3: of a result, a cancel and a deadline at the same moment exactly one happens."""
    task = await standing(truth, "running", deadline=LONG_AGO)
    answers = await truth.do(
        Expire(task.task), Cancel(task.task), Expire(task.task), Finish(task.task, 1, Status.COMPLETED, 5)
    )
    assert sum(answer is not None for answer in answers) == 1
    finals = [event for event in await truth.history(task.task) if event[1] != "task.queued"]
    assert finals == [("1-1", "task.running"), ("1-5", "task.completed")]
    other = await standing(truth, "running", deadline=LONG_AGO)
    answers = await truth.do(Expire(other.task), Cancel(other.task))
    assert sum(answer is not None for answer in answers) == 1
    assert len(await truth.history(other.task)) == 3


@pytest.mark.parametrize("end", ["canceled", "expired"])
async def test_a_stopped_attempt_is_billed_once(truth: Truth, end: str) -> None:
    """R26: what was last known of a stopped attempt is its bill; later ones, and those of others, are not."""
    task = await standing(truth, "running", deadline=LONG_AGO)
    op = Cancel(task.task) if end == "canceled" else Expire(task.task)
    attempt = (await truth.one(op)).attempt
    assert await truth.one(Bill(task.task, attempt - 1, Usage(0, 9, 9.0))) is None
    assert await truth.one(Bill(task.task, attempt, Usage(0, 4, 0.5))) is True
    assert await truth.one(Bill(task.task, attempt, Usage(0, 9, 9.0))) is None
    row = await truth.task(task.task)
    assert (row["prompt_tokens"], row["completion_tokens"], row["compute_seconds"]) == (0, 4, 0.5)


async def test_only_a_stopped_attempt_is_billed_so(truth: Truth) -> None:
    """A result brings its own usage; nothing else may replace it."""
    for status in ("running", "completed", "failed", "queued"):
        task = await standing(truth, status)
        attempt = (await truth.task(task.task))["attempt"]
        assert await truth.one(Bill(task.task, attempt, Usage(0, 4, 0.5))) is None
        assert (await truth.task(task.task))["completion_tokens"] == 0


@pytest.mark.parametrize("status", ["failed", "canceled"])
async def test_a_replay_begins_anew(truth: Truth, status: str) -> None:
    """R1: a replay raises the fence and clears what was charged, said and billed; the log keeps everything."""
    task = await standing(truth, status, losses=4, completion_tokens=7)
    await Reconciliation(truth.database).mend()  # of figures that were set by hand
    before = await truth.task(task.task)
    answer = await truth.one(Replay(task.task, task.owner))
    assert isinstance(answer, Requeued)
    assert (answer.task, answer.owner, answer.lane) == (task.task, task.owner, task.lane)
    assert (answer.attempt, answer.status) == (before["attempt"] + 1, Status.QUEUED)
    row = await truth.task(task.task)
    assert (row["status"], row["attempt"]) == ("queued", before["attempt"] + 1)
    assert (row["errors"], row["losses"], row["dead_letter"], row["error"]) == (0, 0, False, None)
    assert (row["final_seq"], row["finished_at"], row["completion_tokens"]) == (None, None, 0)
    event = (await truth.events(task.task))[-1]
    assert (event.id, event.type) == (f"{answer.attempt}-0", "task.retrying")
    assert event.data == {"status": "queued", "reason": "replayed"}
    assert [kind for _, kind in await truth.history(task.task)][:3] == [
        "task.queued", "task.running", f"task.{status}",
    ]  # fmt: skip
    again = await truth.one(Want(task.lane, await truth.session()))
    assert (again.task, again.attempt, again.errors, again.losses) == (task.task, answer.attempt, 0, 0)
    assert await truth.one(Finish(task.task, 1, Status.COMPLETED, 5)) is None
    assert await truth.one(Finish(task.task, again.attempt, Status.COMPLETED, 2)) is not None


@pytest.mark.parametrize("status", ["queued", "waiting", "running", "completed"])
async def test_only_failed_and_cancelled_tasks_are_replayed(truth: Truth, status: str) -> None:
    """What lives needs no replay, and what is completed gets none."""
    task = await standing(truth, status)
    before = await truth.history(task.task)
    assert await truth.one(Replay(task.task, task.owner)) is None
    assert await truth.history(task.task) == before


async def test_only_the_owner_replays(truth: Truth) -> None:
    """Nobody replays a foreign task, or one that never was."""
    task = await standing(truth, "failed")
    assert await truth.one(Replay(task.task, new_id())) is None
    assert await truth.one(Replay(new_id(), task.owner)) is None
    assert (await truth.task(task.task))["status"] == "failed"


async def test_replays_at_the_same_moment_count_once(truth: Truth) -> None:
    """Two who replay one task get one attempt."""
    task = await standing(truth, "failed")
    answers = await truth.do(Replay(task.task, task.owner), Replay(task.task, task.owner))
    assert sum(answer is not None for answer in answers) == 1
    assert (await truth.task(task.task))["attempt"] == 2


@pytest.mark.parametrize(("deadline", "left"), [(LONG_AGO, None), (FAR, FAR)])
async def test_a_replay_drops_a_passed_deadline(truth: Truth, deadline: Any, left: Any) -> None:
    """Whoever replays a task that was too late wants it run; a deadline to come stays."""
    task = await standing(truth, "failed", deadline=deadline)
    await truth.one(Replay(task.task, task.owner))
    assert (await truth.task(task.task))["deadline"] == left


async def test_replays_queue_like_newcomers(truth: Truth) -> None:
    """R16, R17: replayed tasks are ranked behind what their owner has queued already, each at its own cost."""
    owner, lane = new_id(), new_id()
    tasks = [await truth.queued(owner=owner, lane=lane, model=lane) for _ in range(3)]
    for task in tasks[:2]:
        await truth.one(Cancel(task.id))
    answers = await truth.do(*(Replay(task.id, owner) for task in tasks[:2]))
    assert all(answers)
    ranks = [(await truth.task(task.id))["rank"] for task in tasks]
    assert ranks[2] < ranks[0] < ranks[1]
    session = await truth.session()
    claimed = [(await truth.one(Want(lane, session))).task for _ in tasks]
    assert claimed == [tasks[2].id, tasks[0].id, tasks[1].id]


@pytest.mark.parametrize("kind", ["expire", "replay"])
async def test_a_repeated_batch_finds_what_it_did(postgres: Truth, kind: str) -> None:
    """R8: after a commit whose answer was lost, repeating it answers the same and changes nothing."""
    task = await standing(postgres, "running" if kind == "expire" else "failed", deadline=LONG_AGO)
    op = Expire(task.task) if kind == "expire" else Replay(task.task, task.owner)
    first = await postgres.one(op)
    history = await postgres.history(task.task)
    second = await postgres.one(op, repeat=True)
    assert (second.task, second.owner, second.attempt) == (first.task, first.owner, first.attempt)
    assert second.at == first.at
    assert await postgres.history(task.task) == history
