"""A connection that carries frames both ways, whatever it is made of.

A gateway talks to a remote node over a WebSocket and to the embedded node of ``neurogrid up`` over a pair
of in-process queues; both sides see only this.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

IN_PROCESS_BUFFER = 1024
"""Frames an in-process link holds in each direction before the sender waits."""

CLOSE_PROTOCOL = 1002
"""The close code of a peer that could not read what was sent (RFC 6455)."""


class LinkClosed(ConnectionError):
    """The other side is gone; ``code`` is the WebSocket close code, ``reason`` its text."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"link closed ({code}) {reason}".rstrip())
        self.code = code
        self.reason = reason


class Link(Protocol):
    """One end of a connection. Frames are whole messages and keep their order."""

    async def send(self, frame: bytes) -> None:
        """Send one frame, waiting while the other side is slow. Raises ``LinkClosed``."""

    async def receive(self) -> bytes | str:
        """Return the next frame. Raises ``LinkClosed``."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close both directions; idempotent."""


class _QueueLink:
    def __init__(self) -> None:
        self._inbox: asyncio.Queue[bytes | LinkClosed] = asyncio.Queue(IN_PROCESS_BUFFER)
        self._closed: LinkClosed | None = None
        self.peer: _QueueLink = self

    async def send(self, frame: bytes) -> None:
        if self._closed or self.peer._closed:
            raise LinkClosed
        await self.peer._inbox.put(frame)

    async def receive(self) -> bytes:
        if self._closed and self._inbox.empty():
            raise self._closed
        item = await self._inbox.get()
        if isinstance(item, LinkClosed):
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        for end in (self, self.peer):
            if end._closed is None:
                end._closed = LinkClosed(code, reason)
                while end._inbox.full():
                    end._inbox.get_nowait()
                end._inbox.put_nowait(end._closed)


def in_process_links() -> tuple[Link, Link]:
    """Return the two ends of a link within one process."""
    left, right = _QueueLink(), _QueueLink()
    left.peer, right.peer = right, left
    return left, right
