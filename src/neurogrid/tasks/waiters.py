"""Requests that wait for a task's end (`Prefer: wait`). They never hang on a lost message (R24)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus
from neurogrid.protocol.events import Event
from neurogrid.tasks.store import TaskStore


class Waiters:
    """Wakes requests when their task is over: told by the bus, and by looking once in a while."""

    def __init__(self, bus: Bus, store: TaskStore, settings: LiveSettings) -> None:
        """Listen on ``bus``; look into ``store``."""
        self._bus = bus
        self._store = store
        self._settings = settings
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @asynccontextmanager
    async def expecting(self, task: str) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set when the task is over. Enter before the task is submitted."""
        over = asyncio.Event()

        def on_event(event: Event) -> None:
            if event.final:
                over.set()

        def on_reset() -> None:
            """Whatever was missed is found by the next look."""

        self._waiting.setdefault(task, set()).add(over)
        subscription = await self._bus.follow(task, on_event, on_reset)
        try:
            yield over
        finally:
            await subscription.close()
            self._forget(task, over)

    def _forget(self, task: str, over: asyncio.Event) -> None:
        waiting = self._waiting[task]
        waiting.discard(over)
        if not waiting:
            del self._waiting[task]

    async def run(self) -> None:
        """Look up all awaited tasks in one query, over and over; runs until cancelled."""
        while True:
            alone = self._bus.shared and not self._bus.healthy
            await asyncio.sleep(self._settings.waiter_poll_alone if alone else self._settings.waiter_poll)
            if self._waiting:
                for task in await self._store.finished(list(self._waiting)):
                    for over in self._waiting.get(task, ()):
                        over.set()
