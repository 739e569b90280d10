"""Where the events of one task come from: stream, rows and bus; its own, and those of the task it follows.

While a task shares the execution of another one, its leader, what comes of the leader counts as if it were of the
task itself; only its beginning and its end are its own (R20).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from neurogrid.events.bus import Bus, Subscription
from neurogrid.protocol.events import Event, EventId
from neurogrid.streams.records import TaskRecords
from neurogrid.streams.weave import merge, shared, shows_execution

ASK_EVERY = 0.5
"""Seconds between requests for a snapshot of one task."""

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine in the background, owned and logged by the hub."""


class Listener(Protocol):
    """Who is told what happens."""

    @property
    def wanted(self) -> bool:
        """Whether anybody still wants to know."""

    @property
    def held(self) -> Iterable[Event]:
        """Events that came and are kept."""

    def on_event(self, event: Event) -> None:
        """Take an event that came live."""

    def recheck(self) -> None:
        """Read again: something may have been missed, or the task follows another one now."""


class Source:
    """Hears and reads the events of one task for a listener."""

    def __init__(self, task: str, bus: Bus, records: TaskRecords, spawn: Spawn, listener: Listener) -> None:
        self._task = task
        self._bus = bus
        self._records = records
        self._spawn = spawn
        self._listener = listener
        self._own: Subscription | None = None
        self._leader: str | None = None
        self._leading: Subscription | None = None
        self._may_follow = True
        self._opening = asyncio.Lock()
        self._reads: list[tuple[EventId, asyncio.Future[list[Event]]]] = []
        self._reading = False
        self._asked = float("-inf")

    @property
    def follows(self) -> bool:
        """Whether the task shares the execution of another one, for all that is known here."""
        return self._leader is not None

    def ask_for_snapshot(self) -> None:
        """Ask whoever runs the task for its text so far, now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._asked >= ASK_EVERY:
            self._asked = now
            wish = json.dumps({"type": "snapshot", "task": self._leader or self._task})
            self._spawn(self._bus.send("control", wish.encode()))

    async def read(self, after: EventId) -> list[Event]:
        """Read stream and rows; calls that wait at the same time share one reading."""
        future: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        self._reads.append((after, future))
        if not self._reading:
            self._reading = True
            self._spawn(self._read_for_all())
        return await future

    async def close(self) -> None:
        """Hear nothing more, unless somebody wants to know again."""
        async with self._opening:
            if self._own is not None and not self._listener.wanted:
                await self._leave_leader()
                await self._own.close()
                self._own = None

    async def _read_for_all(self) -> None:
        try:
            while self._reads:
                reads, self._reads = self._reads, []
                try:
                    events = await self._read_once(min(after for after, _ in reads))
                except Exception as error:  # noqa: BLE001 - goes to those who wait, who log it
                    for _, future in reads:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for _, future in reads:
                        if not future.done():
                            future.set_result(events)
        finally:
            self._reading = False

    async def _read_once(self, after: EventId) -> list[Event]:
        async with self._opening:
            if self._own is None and self._listener.wanted:
                self._own = await self._bus.follow(
                    self._task, self._listener.on_event, self._listener.recheck
                )
        events = await self._read_of(self._task, after)
        if self.follows or (self._may_follow and not any(map(shows_execution, events))):
            await self._find_leader()
        if self._leader is None:
            return events
        return merge(events, shared(self._task, await self._read_of(self._leader, after)))

    async def _read_of(self, task: str, after: EventId) -> list[Event]:
        history = await self._bus.history(task, after)
        # The rows come last: whatever is held or in the stream by now, the states before it are committed.
        held = list(self._listener.held)
        rows = await self._records.state_events(task, after)
        return merge(rows, history, held)

    async def _find_leader(self) -> None:
        """Follow the task whose execution this one shares now. One that shares none never will."""
        leader = await self._records.leader_of(self._task)
        self._may_follow = leader is not None
        if leader == self._leader:
            return
        async with self._opening:
            await self._leave_leader()
            if leader is not None and self._listener.wanted:
                self._leading = await self._bus.follow(leader, self._on_leader_event, self._listener.recheck)
                self._leader = leader

    async def _leave_leader(self) -> None:
        self._leader = None
        if self._leading is not None:
            leading, self._leading = self._leading, None
            await leading.close()

    def _on_leader_event(self, event: Event) -> None:
        if event.final:  # the task has ended with it, or follows another one now, or leads
            self._listener.recheck()
        for own in shared(self._task, [event]):
            self._listener.on_event(own)
