"""The rule by which an event enters the stream of its task, and streams kept in memory (R21, R23)."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from neurogrid.protocol.events import Event, EventId, EventType
from neurogrid.protocol.messages import FIRST_NODE_SEQ

NODE_EVENTS = frozenset({EventType.PROGRESS, EventType.CHUNK, EventType.METRIC, EventType.LOG})
RUNNING_TTL = 3600.0
"""Seconds after its last event at which the stream of an unfinished task is given up."""
MEMORY_BYTES = 64 * 1024 * 1024
"""What all streams of one process may hold; beyond it the one silent for longest goes."""
_EVENT_OVERHEAD = 256


class Outcome(StrEnum):
    """What became of an event that was offered to a stream."""

    OK = "ok"
    DUP = "dup"
    STALE = "stale"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``append`` it, after a ``reset`` of what was there; ``publish`` it to those who follow from afar."""

    outcome: Outcome
    append: bool = False
    reset: bool = False
    publish: bool = False


_OK = Verdict(Outcome.OK, append=True, publish=True)
_PASSED_ON = Verdict(Outcome.OK, publish=True)
_SEED = Verdict(Outcome.OK, append=True, reset=True, publish=True)
_KNOWN_SNAPSHOT = Verdict(Outcome.DUP, publish=True)
_DUP = Verdict(Outcome.DUP)
_STALE = Verdict(Outcome.STALE)
_GAP = Verdict(Outcome.GAP)


def judge(top: EventId | None, event: Event) -> Verdict:
    """Decide about ``event`` given the last id of the stream (``None``: there is no stream).

    The script in ``script.py`` decides the same within Redis; a test holds the two together. A snapshot that
    the stream does not need is still published: somebody asked for it.
    """
    snapshot = event.type is EventType.SNAPSHOT
    node_event = event.type in NODE_EVENTS
    if top is None:
        if snapshot:
            return _SEED
        if not node_event:
            return _PASSED_ON
        return _OK if event.id.seq == FIRST_NODE_SEQ else _GAP
    if event.id.attempt < top.attempt:
        return _STALE
    if event.id <= top:
        return _KNOWN_SNAPSHOT if snapshot else _DUP
    if snapshot:
        return _SEED
    next_one = event.id == (top.attempt, top.seq + 1)
    if not node_event or next_one or event.id.seq == FIRST_NODE_SEQ:
        return _OK
    return _GAP


@dataclass(slots=True)
class _Stream:
    events: deque[Event] = field(default_factory=deque)
    size: int = 0
    expires: float = 0.0


class MemoryStreams:
    """Streams of the tasks this process publishes: bounded in length, in life and, all together, in bytes."""

    def __init__(
        self,
        length: int,
        linger: float,
        *,
        max_bytes: int = MEMORY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._length = length
        self._linger = linger
        self._max_bytes = max_bytes
        self._clock = clock
        self._size = 0
        # Each is ordered by expiry, because within one of them every stream lives equally long.
        self._running: OrderedDict[str, _Stream] = OrderedDict()
        self._over: OrderedDict[str, _Stream] = OrderedDict()

    def __len__(self) -> int:
        return len(self._running) + len(self._over)

    def append(self, event: Event) -> Outcome:
        """Offer ``event`` to the stream of its task."""
        self._expire()
        stream = self._running.get(event.task) or self._over.get(event.task)
        verdict = judge(stream.events[-1].id if stream else None, event)
        if not verdict.append:
            return verdict.outcome
        if stream is None:
            stream = _Stream()
        if verdict.reset:
            self._size -= stream.size
            stream.events.clear()
            stream.size = 0
        self._put(stream, event)
        return verdict.outcome

    def after(self, task: str, cursor: EventId) -> list[Event]:
        """Return the events kept of ``task`` after ``cursor``, oldest first."""
        self._expire()
        stream = self._running.get(task) or self._over.get(task)
        if stream is None:
            return []
        return [event for event in stream.events if event.id > cursor]

    def clear(self) -> None:
        """Forget everything."""
        self._running.clear()
        self._over.clear()
        self._size = 0

    def _put(self, stream: _Stream, event: Event) -> None:
        self._grow(stream, _cost(event))
        stream.events.append(event)
        if len(stream.events) > self._length:
            self._grow(stream, -_cost(stream.events.popleft()))
        self._running.pop(event.task, None)
        self._over.pop(event.task, None)
        stream.expires = self._clock() + (self._linger if event.final else RUNNING_TTL)
        (self._over if event.final else self._running)[event.task] = stream
        while self._size > self._max_bytes and len(self) > 1:
            oldest = self._over or self._running
            _, gone = oldest.popitem(last=False)
            self._size -= gone.size

    def _grow(self, stream: _Stream, by: int) -> None:
        stream.size += by
        self._size += by

    def _expire(self) -> None:
        now = self._clock()
        for streams in (self._over, self._running):
            while streams:
                task, stream = next(iter(streams.items()))
                if stream.expires > now:
                    break
                del streams[task]
                self._size -= stream.size


def _cost(event: Event) -> int:
    return len(event.raw) + _EVENT_OVERHEAD
