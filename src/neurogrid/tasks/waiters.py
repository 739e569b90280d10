"""Requests that wait for a task's end (`Prefer: wait`). They never hang on a lost message (R24)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus
from neurogrid.events.states import ENDED, StateEvents
from neurogrid.tasks.store import TaskStore


class Waiters:
    """Wakes requests when their task is over: told by this process, by others, and by looking now and then."""

    def __init__(self, bus: Bus, states: StateEvents, store: TaskStore, settings: LiveSettings) -> None:
        """Hear of ends from ``states`` and over ``bus``; look into ``store``."""
        self._bus = bus
        self._store = store
        self._settings = settings
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.closing = False
        """Nobody is kept waiting any more: the process stops."""
        states.on_end = self._ended

    @contextmanager
    def expecting(self, task: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the task is over. Enter before the task is submitted."""
        over = asyncio.Event()
        if self.closing:
            over.set()
        self._waiting.setdefault(task, set()).add(over)
        try:
            yield over
        finally:
            waiting = self._waiting[task]
            waiting.discard(over)
            if not waiting:
                del self._waiting[task]

    def awaits(self, task: str) -> bool:
        """Tell whether anybody waits for the task here."""
        return task in self._waiting

    def stop(self) -> None:
        """Let all go that wait, and those to come."""
        self.closing = True
        for task in list(self._waiting):
            self._ended(task)

    def _ended(self, task: str) -> None:
        for over in self._waiting.get(task, ()):
            over.set()

    def _heard(self, payload: bytes) -> None:
        if self._waiting:
            for task in payload.decode(errors="replace").split():
                self._ended(task)

    async def start(self) -> None:
        """Listen to what other processes end."""
        await self._bus.listen(ENDED, self._heard)

    def interval(self) -> float:
        """Return the seconds until the next look."""
        alone = self._bus.shared and not self._bus.healthy
        return self._settings.waiter_poll_alone if alone else self._settings.waiter_poll

    async def look(self) -> None:
        """Look up all awaited tasks in one query."""
        if self._waiting:
            for task in await self._store.finished(list(self._waiting)):
                self._ended(task)
