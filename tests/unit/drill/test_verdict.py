"""The judgement of a drill: what it must find, and that it finds nothing where all is well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neurogrid.drill.records import OwnerRecord, StreamRecord, Submission
from neurogrid.drill.verdict import ChargeRow, EventRow, Kind, TaskRow, Verdict, judge
from neurogrid.drill.work import ECHO, FAIL, RECITE, SLEEP, End, Leave, Work
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
        (Work(1, RECITE, {"words": 2}, "low"), End("completed", 1, {"text": "1 2 "}), False),
        (Work(1, RECITE, {"words": 2}, "low"), End("completed", 1, {"text": "1 "}), True),
        (Work(1, FAIL, {"times": 1}, "low"), End("failed", 4, None, {"code": "debug_failure"}), True),
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


def test_a_key_stands_for_one_task() -> None:
    """Who asks again under the same key is told the same task, and is not refused."""
    assert kinds(judged(echo(repeated=["t", "t"]))) == []
    assert kinds(judged(echo(repeated=["t", "u"]))) == [Kind.FINISHED_TWICE]
    assert kinds(judged(echo(denied=["asked again: no"]))) == [Kind.LOST]


@pytest.mark.parametrize(
    ("on_disconnect", "found"), [("cancel", []), ("detach", [Kind.LOST])], ids=["cancel", "detach"]
)
def test_a_task_ends_with_its_client_only_if_told_to(on_disconnect: str, found: list[Kind]) -> None:
    """`detach` goes on whoever leaves; `cancel` may end either way, since a killed gateway saw nobody leave."""
    work = Work(1, ECHO, "x", "normal", wait=8, leave=Leave(1.0, on_disconnect))
    log = [*LOG[:2], EventRow("t", EventId(2, 0), "task.canceled")]
    verdict = judged(echo(work=work), End("canceled", 2), log)
    assert kinds(verdict) == found
    assert verdict.deserted == (on_disconnect == "cancel")
    assert kinds(judged(echo(work=work))) == []


DEAD = [*LOG[:2], EventRow("t", EventId(1, 2), "task.failed")]
AGAIN = [
    *DEAD,
    EventRow("t", EventId(2, 0), "task.queued"),
    EventRow("t", EventId(2, 1), "task.running"),
    EventRow("t", EventId(2, 2), "task.completed"),
]
FAILED = End("failed", 1, None, {"code": "debug_failure"})


@pytest.mark.parametrize(
    ("told", "unknown", "end", "log", "found"),
    [
        (1, 0, End("completed", 2, {"attempt": 2}), AGAIN, []),
        (0, 1, End("completed", 2, {"attempt": 2}), AGAIN, []),
        (0, 1, FAILED, DEAD, []),
        (0, 0, FAILED, DEAD, []),
        (0, 0, End("completed", 2, {"attempt": 2}), AGAIN, [Kind.FINISHED_TWICE]),
        (1, 0, FAILED, DEAD, [Kind.LOST, Kind.LOST]),
        (1, 0, End("running", 2), AGAIN[:-1], [Kind.STUCK]),
        (0, 0, End("running", 2), AGAIN[:-1], [Kind.STUCK, Kind.FINISHED_TWICE]),
        (1, 0, End("completed", 2, {"attempt": 2}), AGAIN[:-1], [Kind.LOST]),
    ],
    ids=[
        "told",
        "unknown, yes",
        "unknown, no",
        "not asked",
        "unasked",
        "in vain",
        "stuck",
        "undone",
        "no end",
    ],
)
def test_a_dead_letter_runs_again_when_asked(
    told: int, unknown: int, end: End, log: list[EventRow], found: list[Kind]
) -> None:
    """It ends once more for each time that it was replayed, and then as it had to."""
    work = Work(1, FAIL, {"times": 4, "retryable": True}, "normal", replay=True)
    submission = echo(work=work, replays=told, replays_unknown=unknown)
    assert kinds(judged(submission, end, log)) == found


def test_who_leaves_is_owed_no_end() -> None:
    """A stream whose reader went away may lack its end, but nothing in the middle."""
    stream = StreamRecord("t", "sse", None)
    stream.left = True
    stream.take(LOG[0].id, LOG[0].type, {})
    submission = echo(streams=[stream])
    assert kinds(judged(submission)) == []
    stream.take(LOG[2].id, LOG[2].type, {})
    assert kinds(judged(submission)) == [Kind.STREAM_GAPS]


def test_charges_must_be_what_the_tasks_say() -> None:
    """Charged twice and not charged at all are findings; what adds up is none."""
    rows = [
        ChargeRow("right", (1, 2, 3, 4), (1, 2, 3, 4)),
        ChargeRow("twice", (1, 4, 6, 8), (1, 2, 3, 4)),
        ChargeRow("never", (0, 0, 0, 0), (1, 2, 3, 4)),
    ]
    verdict = judge([echo()], [TaskRow("t", 1, DONE)], LOG, charges=rows)
    assert [(finding.kind, finding.task) for finding in verdict.findings] == [
        (Kind.MISCHARGED, "twice"),
        (Kind.MISCHARGED, "never"),
    ]
