"""Compares what clients were told with what the database says. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from neurogrid.drill.records import OwnerRecord, Submission
from neurogrid.drill.work import End
from neurogrid.protocol.events import FINAL, EventId

FINAL_STATUSES = frozenset({"completed", "failed", "canceled"})


class Kind(StrEnum):
    """What can be lost; the values are the names in the report."""

    LOST = "lost"
    FINISHED_TWICE = "finished_twice"
    STREAM_GAPS = "stream_gaps"
    STUCK = "stuck"
    MISCHARGED = "mischarged"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise about one task; of charges, about one user, key, model and day."""

    kind: Kind
    task: str
    what: str


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task in the database; ``number`` is that of its submission."""

    id: str
    number: int
    end: End

    @property
    def final(self) -> bool:
        """Whether it is over."""
        return self.end.status in FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class EventRow:
    """A change of state in the database."""

    task: str
    id: EventId
    type: str


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """What was charged to a user, for a key, model and day, and what the tasks say."""

    whose: str
    charged: Sequence[int]
    owed: Sequence[int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, with the figures of the report."""

    findings: Sequence[Finding]
    accepted: int
    finished: int
    deserted: int = 0
    """Tasks that were cancelled because their clients went away, as they wanted."""

    def count(self, kind: Kind) -> int:
        """Return how many tasks have findings of ``kind``."""
        return len({finding.task for finding in self.findings if finding.kind is kind})


def judge(
    submissions: Sequence[Submission],
    tasks: Sequence[TaskRow],
    events: Iterable[EventRow],
    owners: Sequence[OwnerRecord] = (),
    charges: Iterable[ChargeRow] = (),
) -> Verdict:
    """Return what is lost."""
    by_id = {row.id: row for row in tasks}
    by_number: dict[int, list[TaskRow]] = defaultdict(list)
    for row in tasks:
        by_number[row.number].append(row)
    logs: dict[str, list[EventRow]] = defaultdict(list)
    for event in events:
        logs[event.task].append(event)
    findings: list[Finding] = []
    for submission in submissions:
        rows = by_number[submission.work.number]
        findings += _existence(submission, rows)
        for row in rows:
            findings += _end(submission, row)
            findings += _log(submission, row, sorted(logs[row.id], key=lambda event: event.id))
        findings += _streams(submission, by_id)
    for owner in owners:
        findings += _owner(owner, {(event.task, event.id) for log in logs.values() for event in log})
    findings += _charges(charges)
    accepted = [by_id.get(one.task) for one in submissions if one.task is not None]
    finished = sum(1 for row in accepted if row is not None and row.final)
    deserted = sum(
        row.end.status == "canceled"
        for one in submissions
        if one.work.may_be_deserted
        for row in by_number[one.work.number]
    )
    return Verdict(findings, len(accepted), finished, deserted)


def _existence(submission: Submission, rows: Sequence[TaskRow]) -> Iterator[Finding]:
    ids = [row.id for row in rows]
    if submission.task is not None and submission.task not in ids:
        yield Finding(Kind.LOST, submission.task, "accepted, but not in the database")
    if submission.refused is not None and ids:
        yield Finding(Kind.LOST, ids[0], f"in the database, though its client was told: {submission.refused}")
    for id in submission.repeated:
        if id != submission.task:
            yield Finding(Kind.FINISHED_TWICE, id, f"the same key gave {submission.task} before")
    for refusal in submission.denied:
        yield Finding(Kind.LOST, submission.task or "", refusal)
    if len(ids) > 1:
        yield Finding(Kind.FINISHED_TWICE, ids[0], f"submitted once, accepted as {', '.join(ids)}")


def _end(submission: Submission, row: TaskRow) -> Iterator[Finding]:
    end = row.end
    if not row.final:
        yield Finding(Kind.STUCK, row.id, f"still {end}")
        return
    if submission.cancel_told and end.status != "canceled":
        yield Finding(Kind.LOST, row.id, f"its client was told that it is cancelled, but it is {end}")
    elif end.status == "canceled":
        if not (submission.cancel_asked or submission.work.may_be_deserted):
            yield Finding(Kind.LOST, row.id, "cancelled, though nobody asked for it")
    elif wrong := submission.work.wrong(end, replayed=submission.replays > 0):
        yield Finding(Kind.LOST, row.id, wrong)
    told = submission.told
    if told is not None and told != end:
        yield Finding(Kind.FINISHED_TWICE, row.id, f"its client was told that it is {told}, but it is {end}")


def _log(submission: Submission, row: TaskRow, log: Sequence[EventRow]) -> Iterator[Finding]:
    """Judge the events of a task: one end, and one more for each time that it was run again."""
    ends = [event for event in log if event.type in FINAL]
    least = submission.replays + int(row.final)
    if len(ends) > least + submission.replays_unknown:
        shown = ", ".join(f"{event.type} {event.id}" for event in ends)
        yield Finding(Kind.FINISHED_TWICE, row.id, f"ended as {shown}")
    elif row.final and len(ends) < least:
        yield Finding(Kind.LOST, row.id, f"is {row.end}, but {len(ends)} of {least} ends are in its log")
    elif row.final and log[-1] is not ends[-1]:
        yield Finding(
            Kind.FINISHED_TWICE, row.id, f"{log[-1].type} {log[-1].id} after its end, {ends[-1].id}"
        )
    elif row.final and ends[-1].type != f"task.{row.end.status}":
        yield Finding(
            Kind.FINISHED_TWICE, row.id, f"is {row.end}, but ended as {ends[-1].type} {ends[-1].id}"
        )


def _charges(charges: Iterable[ChargeRow]) -> Iterator[Finding]:
    for row in charges:
        if row.charged != row.owed:
            text = f"charged {list(row.charged)}, but the tasks say {list(row.owed)}"
            yield Finding(Kind.MISCHARGED, row.whose, text)


def _streams(submission: Submission, by_id: Mapping[str, TaskRow]) -> Iterator[Finding]:
    for stream in submission.streams:
        where = f"{stream.transport}, {stream.connections} connections: "
        for problem in stream.problems:
            yield Finding(Kind.STREAM_GAPS, stream.task, where + problem)
        row = by_id.get(stream.task)
        if row is None or not row.final:
            continue
        if stream.final is None:
            if not stream.left:
                text = f"{where}{row.end}, but nothing came after {stream.last}"
                yield Finding(Kind.STREAM_GAPS, stream.task, text)
        elif stream.final[1] != f"task.{row.end.status}":
            told = f"{stream.final[1]} {stream.final[0]}"
            yield Finding(Kind.FINISHED_TWICE, stream.task, f"{where}told {told}, but it is {row.end}")


def _owner(owner: OwnerRecord, happened: set[tuple[str, EventId]]) -> Iterator[Finding]:
    where = f"all tasks, {owner.connections} connections: "
    for what, events in (
        ("was missing", happened - owner.seen),
        ("never happened", owner.seen - happened),
        ("was repeated", owner.repeated),
    ):
        for task, identifier in events:
            yield Finding(Kind.STREAM_GAPS, task, f"{where}{identifier} {what}")
