"""Server-sent events, read from bytes as they come (the WHATWG event stream format)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_LINE = 64 * 1024 * 1024
"""Bytes a line may have; a gateway's longest is one event with a whole output."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One dispatched event. ``id`` is the stream's last one, also where this event had none."""

    event: str
    data: str
    id: str


class Parser:
    """Turns pieces of a stream, cut anywhere, into events."""

    def __init__(self) -> None:
        self._buffer = b""
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """Take the next piece and yield the events that it completes. Raises ``ValueError`` on endless lines."""
        *lines, self._buffer = self._split(self._buffer + piece)
        if len(self._buffer) > MAX_LINE:
            msg = f"a line of the event stream is longer than {MAX_LINE} bytes"
            raise ValueError(msg)
        for line in lines:
            event = self._take(line.decode(errors="replace"))
            if event is not None:
                yield event

    @staticmethod
    def _split(text: bytes) -> list[bytes]:
        # A line ends with \n, \r\n or \r; a \r at the end may be the first half of \r\n.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines[-1] += held
        return lines

    def _take(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None  # ``retry``, comments and unknown fields change nothing

    def _dispatch(self) -> ServerSentEvent | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        return ServerSentEvent(event or "message", "\n".join(data), self._id) if data else None
