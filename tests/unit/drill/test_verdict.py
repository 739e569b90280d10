"""The judgement of a drill: what it must find, and that it finds nothing where all is well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neurogrid.drill.records import OwnerRecord, StreamRecord, Submission
from neurogrid.drill.verdict import EventRow, Kind, TaskRow, Verdict, judge
from neurogrid.drill.work import ECHO, FAIL, SLEEP, End, Work
from neurogrid.protocol.events import EventId

DONE = End("completed", 1, "x")
LOG = [
    EventRow("t", EventId(0, 1), "task.queued"),
    EventRow("t", EventId(1, 1), "task.running"),
    EventRow("t", EventId(1, 2), "task.completed"),
]


def echo(**fields: object) -> Submission:
    return replace(Submission(Work(1, ECHO, "x", "normal"), task="t"), **fields)  # type: ignore[arg-type]


def judged(
    submission: Submission, end: End | None = DONE, log: list[EventRow] = LOG, *, rows: int = 1
) -> Verdict:
    tasks = [TaskRow("t" if number == 0 else f"t{number}", 1, end) for number in range(rows)] if end else []
    more = [replace(event, task=row.id) for row in tasks[1:] for event in log]
    return judge([submission], tasks, log + more)


def kinds(verdict: Verdict) -> list[Kind]:
    return [finding.kind for finding in verdict.findings]


def test_all_is_well() -> None:
    """A task accepted once, finished once and as it had to be is no finding."""
    verdict = judged(echo(told=DONE))
    assert (verdict.findings, verdict.accepted, verdict.finished) == ([], 1, 1)


def test_an_accepted_task_must_exist() -> None:
    """202 without a row is a loss."""
    assert kinds(judged(echo(), None, [])) == [Kind.LOST]


def test_an_unanswered_task_may_exist_or_not() -> None:
    """Who got no answer has no claim, as long as there is at most one task."""
    unknown = echo(task=None, unknown="timed out")
    assert kinds(judged(unknown)) == []
    assert kinds(judged(unknown, None, [])) == []
    assert kinds(judged(unknown, rows=2)) == [Kind.FINISHED_TWICE]


def test_a_refused_task_must_not_exist() -> None:
    """What a gateway refused it must not run."""
    assert kinds(judged(echo(task=None, refused="invalid"))) == [Kind.LOST]


@pytest.mark.parametrize("status", ["queued", "waiting", "running"])
def test_a_task_must_end(status: str) -> None:
    """What is not over in the end is stuck."""
    assert kinds(judged(echo(), End(status, 1), LOG[:2])) == [Kind.STUCK]


@pytest.mark.parametrize(
    ("work", "end", "wrong"),
    [
        (Work(1, ECHO, {"a": 1}, "low"), End("completed", 3, {"a": 1}), False),
        (Work(1, ECHO, {"a": 1}, "low"), End("completed", 3, {"a": 2}), True),
        (Work(1, ECHO, {"a": 1}, "low"), End("failed", 3, None, {"code": "nodes_lost"}), True),
        (Work(1, SLEEP, {"seconds": 2.0, "chunks": 1}, "low"), End("completed", 1, {"slept": 2.0}), False),
        (Work(1, SLEEP, {"seconds": 2.0, "chunks": 1}, "low"), End("completed", 1, {"slept": 1.0}), True),
        (Work(1, FAIL, {"times": 1}, "low"), End("completed", 2, {"attempt": 2}), False),
        (Work(1, FAIL, {"times": 1}, "low"), End("completed", 3, {"attempt": 2}), True),
        (Work(1, FAIL, {"times": None}, "low"), End("failed", 4, None, {"code": "debug_failure"}), False),
        (Work(1, FAIL, {"times": None}, "low"), End("completed", 4, {"attempt": 4}), True),
        (Work(1, FAIL, {"times": None}, "low"), End("failed", 4, None, {"code": "nodes_lost"}), True),
    ],
)
def test_a_task_must_end_as_it_had_to(work: Work, end: End, *, wrong: bool) -> None:
    """Every model's output is known beforehand; another one is a loss."""
    assert bool(work.wrong(end)) is wrong


def test_nobody_may_be_told_another_end() -> None:
    """An answer that says how the task ended says what the database says."""
    told = echo(told=End("completed", 2, "x"))
    assert kinds(judged(told)) == [Kind.FINISHED_TWICE]


def test_a_cancel_that_was_confirmed_holds() -> None:
    """A task whose cancellation was confirmed is cancelled; one that nobody cancelled is not."""
    end = End("canceled", 2)
    log = [*LOG[:2], EventRow("t", EventId(2, 0), "task.canceled")]
    assert kinds(judged(echo(cancel_asked=True, cancel_told=True), end, log)) == []
    assert kinds(judged(echo(cancel_asked=True, cancel_told=True))) == [Kind.LOST]
    assert kinds(judged(echo(cancel_asked=True))) == []
    assert kinds(judged(echo(), end, log)) == [Kind.LOST]


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ([*LOG, EventRow("t", EventId(2, 0), "task.canceled")], Kind.FINISHED_TWICE),
        ([*LOG, EventRow("t", EventId(2, 0), "task.retrying")], Kind.FINISHED_TWICE),
        ([*LOG[:2], EventRow("t", EventId(1, 2), "task.failed")], Kind.FINISHED_TWICE),
        (LOG[:2], Kind.LOST),
    ],
    ids=["two ends", "after the end", "another end", "no end"],
)
def test_the_log_tells_one_end(log: list[EventRow], kind: Kind) -> None:
    """A task's log has one end, its last event, and the row says the same."""
    assert kinds(judged(echo(), DONE, log)) == [kind]


def test_streams_are_judged() -> None:
    """A stream that had problems, never ended, or told another end is a finding."""
    stream = StreamRecord("t", "sse", None)
    submission = echo(streams=[stream])
    assert kinds(judged(submission)) == [Kind.STREAM_GAPS]
    for event in LOG:
        stream.take(event.id, event.type, {})
    assert kinds(judged(submission)) == []
    stream.final = (EventId(2, 0), "task.canceled")
    assert kinds(judged(submission)) == [Kind.FINISHED_TWICE]
    stream.problems.append("…")
    assert judged(submission).count(Kind.STREAM_GAPS) == 1


@pytest.mark.parametrize("flaw", ["none", "missing", "repeated", "made up"])
def test_the_stream_of_all_tasks_is_judged(flaw: str) -> None:
    """It brings every change of state of every task once, and nothing else."""
    owner = OwnerRecord()
    for event in LOG[1:] if flaw == "missing" else LOG:
        owner.take(event.task, event.id, "cursor")
    if flaw == "repeated":
        owner.take("t", LOG[0].id, "cursor")
    if flaw == "made up":
        owner.take("t", EventId(2, 0), "cursor")
    verdict = judge([echo()], [TaskRow("t", 1, DONE)], LOG, [owner])
    assert kinds(verdict) == ([] if flaw == "none" else [Kind.STREAM_GAPS])
