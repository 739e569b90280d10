"""What waits to be carried to Redis in the next round trip."""

from __future__ import annotations

import asyncio
from collections import deque

from neurogrid.protocol.events import Event

MAX_ITEMS = 20_000
MAX_BYTES = 32 * 1024 * 1024
_BATCH = 512


class Outbox:
    """What waits for Redis: bounded, because those who publish never wait. What overflows is dropped."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.messages: deque[tuple[str, bytes]] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add_event(self, event: Event, *, first: bool = False) -> None:
        """Let an event wait, before all others if ``first``."""
        if self._admit(len(event.raw)):
            (self.events.appendleft if first else self.events.append)(event)

    def add_message(self, topic: str, payload: bytes) -> None:
        """Let a message wait."""
        if self._admit(len(payload)):
            self.messages.append((topic, payload))

    async def take(self) -> tuple[list[Event], list[tuple[str, bytes]]]:
        """Wait until there is something; return a batch. Nothing is idle until the next call."""
        if not (self.events or self.messages):
            self._filled.clear()
            self._idle.set()
            await self._filled.wait()
        events = [self.events.popleft() for _ in range(min(_BATCH, len(self.events)))]
        messages = [self.messages.popleft() for _ in range(min(_BATCH, len(self.messages)))]
        self._size -= sum(len(event.raw) for event in events) + sum(len(message[1]) for message in messages)
        return events, messages

    async def drained(self) -> None:
        """Wait until all was taken and carried."""
        await self._idle.wait()

    def clear(self) -> None:
        """Drop what waits."""
        self.events.clear()
        self.messages.clear()
        self._size = 0
        self._idle.set()

    def _admit(self, size: int) -> bool:
        full = len(self.events) + len(self.messages) >= MAX_ITEMS or self._size + size > MAX_BYTES
        if not full:
            self._size += size
            self._idle.clear()
            self._filled.set()
        return not full
