"""The numbered events of one attempt, kept so that they can be sent again (R6, R21, R23)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from neurogrid.protocol.frames import encode
from neurogrid.protocol.messages import FIRST_NODE_SEQ, Snapshot, TaskEvent

MAX_EVENTS = 4096
MAX_BYTES = 4 * 1024 * 1024


class _Kept(NamedTuple):
    frame: bytes
    text: str


class EventLog:
    """Numbers events, keeps the latest of them as frames, and says which is to be sent next.

    Past its bounds the oldest events are folded: of them only the joined text of their chunks is kept, and
    a reader who needs them gets a ``snapshot`` in their place.
    """

    def __init__(
        self, task: str, attempt: int, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._task = task
        self._attempt = attempt
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._unsent_bytes = 0
        self._folded: list[str] = []
        self._first = FIRST_NODE_SEQ
        self._next = FIRST_NODE_SEQ

    @property
    def last(self) -> int:
        """Sequence number of the last event, ``FIRST_NODE_SEQ - 1`` when there is none."""
        return self._first + len(self._kept) - 1

    @property
    def sent(self) -> int:
        """Sequence number of the last event handed out for sending; those after it follow by themselves."""
        return self._next - 1

    @property
    def unsent(self) -> tuple[int, int]:
        """How many events, and how many bytes of them, were not handed out yet."""
        return self.last - self.sent, self._unsent_bytes

    def append(self, kind: type[TaskEvent], data: bytes, text: str = "") -> None:
        """Add an event with raw JSON ``data``; ``text`` is what it adds to the text of the output."""
        event = kind(task=self._task, attempt=self._attempt, seq=self.last + 1, data=msgspec.Raw(data))
        frame = encode(event)
        self._kept.append(_Kept(frame, text))
        self._bytes += len(frame)
        self._unsent_bytes += len(frame)
        while len(self._kept) > self._max_events or (self._bytes > self._max_bytes and len(self._kept) > 1):
            self._fold_oldest()

    def take(self) -> bytes | None:
        """Return the next frame to send, or ``None`` when all are sent."""
        if self._next < self._first:
            self._next = self._first
            self._folded = ["".join(self._folded)]
            return encode(Snapshot(self._task, self._attempt, self._first - 1, self._folded[0]))
        if self._next > self.last:
            return None
        frame = self._kept[self._next - self._first].frame
        self._next += 1
        self._unsent_bytes -= len(frame)
        return frame

    def rewind(self, seq: int) -> None:
        """Send again from event ``seq`` on; never skips what was not sent yet."""
        self._next = min(max(seq, FIRST_NODE_SEQ), self._next)
        skip = max(self._next - self._first, 0)
        self._unsent_bytes = sum(len(kept.frame) for kept in list(self._kept)[skip:])

    def _fold_oldest(self) -> None:
        kept = self._kept.popleft()
        if self._next <= self._first:
            self._unsent_bytes -= len(kept.frame)
        if kept.text:
            self._folded.append(kept.text)
        self._bytes -= len(kept.frame)
        self._first += 1
