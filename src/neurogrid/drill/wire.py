"""As much of PostgreSQL's protocol as it takes to be cruel at the right moment. Pure.

A proxy feeds what passes in both directions; out come the moments at which a connection is about to commit,
has been told so, or stands inside a transaction.
"""

from __future__ import annotations

import struct
from enum import Enum, auto

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
_HEADER = struct.Struct("!ci")
_STARTUP = struct.Struct("!ii")
_LONGEST_SHOWN = 64
"""Bytes of a message that are kept to look at; the rest is skipped."""


class Moment(Enum):
    """What a piece of the conversation brings about."""

    COMMIT = auto()
    """The client asks to commit: by the command, or by a statement of its own that writes."""
    DONE = auto()
    """The server has answered, and no transaction is open."""
    HELD_OPEN = auto()
    """The server has answered a writer and waits for it, inside a transaction."""


class Conversation:
    """One connection between a client and PostgreSQL. ``writer`` is what those call themselves that only write."""

    def __init__(self, writer: str) -> None:
        """Begin before the first byte."""
        self._writer = writer
        self._writes = False
        self._client = _Messages(startup=True)
        self._server = _Messages()
        self._negotiating = 0
        self._executed = False
        self._idle = True

    def from_client(self, data: bytes) -> set[Moment]:
        """Take what the client says next."""
        moments = set()
        for kind, body in self._client.feed(data):
            if kind == b"":
                self._start(body)
            elif kind == b"E":
                self._executed = True
            elif (kind == b"Q" and body[:6].upper() == b"COMMIT") or (
                kind == b"S" and self._executed and self._idle and self._writes
            ):
                moments.add(Moment.COMMIT)
            if kind == b"S":
                self._executed = False
        return moments

    def from_server(self, data: bytes) -> set[Moment]:
        """Take what the server says next."""
        refused = min(self._negotiating, len(data))  # one byte for each request to encrypt
        self._negotiating -= refused
        moments = set()
        for kind, body in self._server.feed(data[refused:]):
            if kind == b"Z":
                self._idle = body == b"I"
                if self._idle:
                    moments.add(Moment.DONE)
                elif body == b"T" and self._writes:
                    moments.add(Moment.HELD_OPEN)
        return moments

    def _start(self, body: bytes) -> None:
        (code,) = struct.unpack_from("!i", body)
        if code in {SSL_REQUEST, GSS_REQUEST}:
            self._negotiating += 1
            self._client.startup = True
            return
        words = body[4:].split(b"\0")
        parameters = dict(zip(words[::2], words[1::2], strict=False))
        self._writes = parameters.get(b"application_name", b"").decode() == self._writer


class _Messages:
    """Cuts a stream into messages: kind, and the beginning of the body (whole for the first one)."""

    def __init__(self, *, startup: bool = False) -> None:
        self.startup = startup
        """The next message is a client's first one, which has no kind."""
        self._buffer = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        found = []
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._buffer += data[skipped:]
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def _next(self) -> tuple[bytes, bytes] | None:
        if self.startup:
            if len(self._buffer) < _STARTUP.size:
                return None
            length, _ = _STARTUP.unpack_from(self._buffer)
            if len(self._buffer) < length:
                return None
            body, self._buffer = self._buffer[4:length], self._buffer[length:]
            self.startup = False
            return b"", body
        if len(self._buffer) < _HEADER.size:
            return None
        kind, length = _HEADER.unpack_from(self._buffer)
        needed = _HEADER.size + min(length - 4, _LONGEST_SHOWN)
        if len(self._buffer) < needed:
            return None
        body = self._buffer[_HEADER.size : needed]
        end = 1 + length
        self._skip = max(0, end - len(self._buffer))
        self._buffer = self._buffer[end:]
        return kind, body
