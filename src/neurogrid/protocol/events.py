"""The live event: its id, its envelope, and the rule that says which event may follow which (R21, R22).

An event id is ``<attempt>-<seq>``: ``0-1`` queued; for attempt n ``n-0`` the transition that opened it
(retrying, handed back, replayed, cancelled, past its deadline), ``n-1`` running, ``n-2…`` allotted by the node; the final event is the
node's last + 1. Ids of one task are ordered, and a subscriber applies only the next one or the opening of
a later attempt, so that a gap can never pass unnoticed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec


class EventType(StrEnum):
    """Every kind of task event; the values are the wire names."""

    QUEUED = "task.queued"
    RUNNING = "task.running"
    PROGRESS = "task.progress"
    CHUNK = "task.chunk"
    METRIC = "task.metric"
    LOG = "task.log"
    RETRYING = "task.retrying"
    SNAPSHOT = "task.snapshot"
    COMPLETED = "task.completed"
    FAILED = "task.failed"
    CANCELED = "task.canceled"


FINAL = frozenset({EventType.COMPLETED, EventType.FAILED, EventType.CANCELED})
REPLACES_TEXT = frozenset({EventType.RETRYING, EventType.SNAPSHOT})
"""After one of these a client drops the text it has so far."""


class EventId(NamedTuple):
    """``(attempt, seq)``; compares in the order in which events happen."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        """Return the wire form ``<attempt>-<seq>``."""
        return f"{self.attempt}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Parse ``<attempt>-<seq>``. Raises ``ValueError`` on anything else."""
        attempt, dash, seq = text.partition("-")
        if not (dash and attempt.isascii() and attempt.isdigit() and seq.isascii() and seq.isdigit()):
            msg = f"an event id looks like 1-17, not {text[:40]!r}"
            raise ValueError(msg)
        if len(attempt) > _DIGITS or len(seq) > _DIGITS:
            msg = "an event id's numbers are at most 15 digits long"
            raise ValueError(msg)
        return cls(int(attempt), int(seq))


_DIGITS = 15
START = EventId(0, 0)
"""Before everything: the cursor of a subscriber that has seen nothing."""
QUEUED_ID = EventId(0, 1)


def opening(attempt: int) -> EventId:
    """Return the id of the transition that opened ``attempt`` (2 and later)."""
    return EventId(attempt, 0)


def running(attempt: int) -> EventId:
    """Return the id of the event that says ``attempt`` runs."""
    return EventId(attempt, 1)


def follows(last: EventId, new: EventId) -> bool:
    """Tell whether ``new`` may be applied directly after ``last`` without anything missing between."""
    if new.attempt == last.attempt:
        return new.seq == last.seq + 1
    if new.attempt < last.attempt:
        return False
    return new.seq == 0 or (last == QUEUED_ID and new == (1, 1)) or (last == START and new == QUEUED_ID)


class Event(msgspec.Struct, frozen=True):
    """One live event. ``raw`` is its whole JSON envelope, encoded once however many subscribers read it."""

    id: EventId
    type: EventType
    task: str
    raw: bytes

    @property
    def final(self) -> bool:
        """Whether the task is over with this event."""
        return self.type in FINAL


class _Envelope(msgspec.Struct):
    id: str
    type: str
    task_id: str
    at: str
    data: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode
_EMPTY = b"{}"


def isoformat(moment: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with microseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def make_event(
    task: str, id: EventId, type: EventType, data: bytes | msgspec.Raw = _EMPTY, at: datetime | None = None
) -> Event:
    """Encode an event; ``data`` is raw JSON, ``at`` the moment it happened (default: now)."""
    raw = _encode(
        _Envelope(
            id=str(id),
            type=type.value,
            task_id=task,
            at=isoformat(at or datetime.now(UTC)),
            data=data if isinstance(data, msgspec.Raw) else msgspec.Raw(data),
        )
    )
    return Event(id=id, type=type, task=task, raw=raw)


def parse_event(raw: bytes) -> Event:
    """Read an envelope made by ``make_event``. Raises ``ValueError`` when it is none."""
    try:
        envelope = _decode(raw)
        return Event(EventId.parse(envelope.id), EventType(envelope.type), envelope.task_id, raw)
    except msgspec.MsgspecError as error:
        msg = f"not an event: {error}"
        raise ValueError(msg) from error


def event_data(event: Event) -> bytes:
    """Return the raw JSON of an event's ``data``."""
    return bytes(_decode(event.raw).data)


class _Text(msgspec.Struct):
    text: str = ""


_decode_text = msgspec.json.Decoder(_Text).decode


def event_text(event: Event) -> str:
    """Return the text a chunk or snapshot brings; ``""`` where it is none of a text model."""
    try:
        return _decode_text(event_data(event)).text
    except msgspec.ValidationError:
        return ""


def fold(text: str, event: Event) -> str:
    """Return the text a reader has after ``event``, given the one it had before.

    Chunks append, a snapshot replaces, a retry starts over; all else leaves the text as it is.
    """
    if event.type is EventType.CHUNK:
        return text + event_text(event)
    if event.type is EventType.SNAPSHOT:
        return event_text(event)
    return "" if event.type in REPLACES_TEXT else text
