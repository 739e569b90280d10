"""Following one task's events over connections that may break; without any input or output."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from neurogrid.client.calls import Answer, Call, task_path
from neurogrid.client.errors import ConnectionFailed
from neurogrid.client.retrying import PASSING, backoff, retry_after
from neurogrid.client.sse import Parser
from neurogrid.client.types import TaskEvent
from neurogrid.protocol.events import REPLACES_TEXT, START, EventId, EventType

FRUITLESS = 8
"""Connections in a row that bring no event before we give up."""


class Following:
    """What one follower has seen and how it goes on: no event is told twice, none is left out."""

    def __init__(self, task_id: str, after: EventId | str | None = None) -> None:
        self._task_id = task_id
        self._last = EventId.parse(after) if isinstance(after, str) else after or START
        self._parser = Parser()
        self._fruitless = 0
        self.over = False
        self.pause = 0.0
        """Seconds to wait before the next connection."""

    def connect(self) -> Call[None]:
        """Return the request that continues where we are."""
        self._parser = Parser()
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last > START:
            headers["Last-Event-ID"] = str(self._last)
        return Call("GET", f"{task_path(self._task_id)}/events", lambda _: None, headers=headers)

    def feed(self, piece: bytes) -> Iterator[TaskEvent]:
        """Take bytes of the stream and yield what is new in them."""
        for message in self._parser.feed(piece):
            event = TaskEvent.parse(orjson.loads(message.data))
            if event.id <= self._last:
                continue
            self._last = event.id
            self._fruitless = 0
            self.pause = 0.0
            self.over = event.final
            yield event

    def refused(self, answer: Answer) -> None:
        """Note an answer that is no stream. Raises ``ApiError`` when it is final."""
        error = answer.error()
        if error.status not in PASSING:
            raise error
        self.lost(error.detail)
        self.pause = retry_after(answer) or self.pause

    def lost(self, reason: str) -> None:
        """Note that the connection ended early. Raises ``ConnectionFailed`` when it does so again and again."""
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:
            raise ConnectionFailed(reason)
        self.pause = backoff(self._fruitless - 1)


class TextFold:
    """The text of a text model's task, as its events say it.

    A retried task starts over and a snapshot replaces everything, so text may also be taken back.
    """

    def __init__(self) -> None:
        self.text = ""

    def add(self, event: TaskEvent) -> str:
        """Take one event and return what it appends to the text (after a replacement: all of it)."""
        if event.type in REPLACES_TEXT:
            self.text = ""
        if event.type not in {EventType.CHUNK, EventType.SNAPSHOT}:
            return ""
        piece = event.data.get("text")
        if not isinstance(piece, str):
            return ""
        self.text += piece
        return piece
