"""What still has to be sent to one client: a bounded buffer with a way out (LIVE-3)."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

Frame = str | bytes
"""Text for a WebSocket, bytes for SSE; ready to send."""


class Close(NamedTuple):
    """Why a connection ends: WebSocket close code and a word for people."""

    code: int
    reason: str


GOING_AWAY = Close(1012, "restarting")
TOO_BIG = Close(1009, "authenticate first; until then messages are short")
TOO_SLOW = Close(1013, "too slow: reconnect and resume with the last id")
UNAUTHENTICATED = Close(4401, "credentials are missing, wrong or expired")
NOT_YOURS = Close(4403, "not allowed")
SILENT = Close(4408, "no authentication in time")
TOO_MANY = Close(4429, "too many connections or messages")
GONE = Close(1000, "")


class Outlet:
    """Frames on their way to one client. When ``capacity`` of them wait, the client is too slow and is closed.

    One reader takes them. A list and a future rather than a deque and an ``Event``: empty, those take 1.5 KB of
    every idle connection.
    """

    __slots__ = ("_capacity", "_frames", "_reader", "_room", "closing", "sent")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._frames: list[Frame] = []
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Event | None = None
        self.closing: Close | None = None
        self.sent = 0

    @property
    def room(self) -> int:
        """How many more frames fit; 0 once closing."""
        return 0 if self.closing else self._capacity - len(self._frames)

    def offer(self, frame: Frame) -> None:
        """Let ``frame`` be sent; closes when it does not fit, and does nothing once closing."""
        if self.closing:
            return
        if len(self._frames) >= self._capacity:
            self._frames.clear()
            self.close(TOO_SLOW)
            return
        self._frames.append(frame)
        self._wake()

    def close(self, close: Close) -> None:
        """End the connection after what waits already; the first reason given stays."""
        if self.closing is None:
            self.closing = close
            self._wake()
            if self._room is not None:
                self._room.set()

    async def wait_for_room(self) -> bool:
        """Wait until a frame fits without making the client too slow; ``False`` when it is closing."""
        while not self.closing and len(self._frames) >= self._capacity:
            if self._room is None:
                self._room = asyncio.Event()
            self._room.clear()
            await self._room.wait()
        return self.closing is None

    async def next(self) -> Frame | None:
        """Return the next frame to send; ``None`` when there will be no more."""
        while not self._frames:
            if self.closing:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        self.sent += 1
        frame = self._frames.pop(0)
        if self._room is not None:
            self._room.set()
        return frame

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._frames
