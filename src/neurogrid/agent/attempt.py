"""One execution on this node: how its run speaks, and what the gateway has not confirmed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from neurogrid.agent.encoding import encode_value
from neurogrid.agent.events import EventLog
from neurogrid.protocol.messages import Chunk, Execution, Log, Metric, Progress, TaskEvent, TaskProgress
from neurogrid.runners.base import TaskError

MAX_UNSENT_EVENTS = 64
MAX_UNSENT_BYTES = 1024 * 1024
MAX_OUTPUT = 16 * 1024 * 1024
"""Bytes; what a gateway accepts at most, whole or piece by piece."""


class Attempt:
    """The ``Emit`` of a run, and the run's state on the node.

    ``on_event`` is called after each event. While ``connected`` is set, a run that is further ahead of the
    connection than the bounds above waits; without a connection it goes on, and its log folds what it
    cannot keep.
    """

    def __init__(self, key: Execution, on_event: Callable[[Attempt], None], connected: asyncio.Event) -> None:
        self.key = key
        self.events = EventLog(*key)
        self.run: asyncio.Task[None] | None = None
        self.finished = False
        """The outcome is known and waits in the outbox to be confirmed."""
        self.outcome_due = False
        """The outcome is to be sent on this connection, after the events before it."""
        self.stopped = False
        """Cancelled or taken away: nothing more is said about it."""
        self._on_event = on_event
        self._connected = connected
        self._room = asyncio.Event()
        self._alive = True
        self._spoken = 0

    @property
    def attempt(self) -> int:
        """Which attempt at the task this is."""
        return self.key[1]

    @property
    def position(self) -> Progress:
        """The attempt and the last event that was sent of it; later ones follow without being asked for."""
        return (*self.key, self.events.sent)

    async def chunk(self, data: Any) -> None:
        """Send a piece of output. Raises ``TaskError`` (``output_too_large``) when the text grows out of bounds."""
        text = data.get("text") if isinstance(data, dict) else None
        text = text if isinstance(text, str) else ""
        self._spoken += len(text.encode(errors="replace"))
        if self._spoken > MAX_OUTPUT:
            raise TaskError("output_too_large", f"the text of the output exceeds {MAX_OUTPUT} bytes")
        await self._emit(Chunk, data, text)

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the run is."""
        await self._emit(TaskProgress, {"done": done, "total": total, "message": message})

    async def metric(self, **figures: float) -> None:
        """Send named figures of a step."""
        await self._emit(Metric, figures)

    async def log(self, message: str, level: str = "info") -> None:
        """Write a line to the task's log."""
        await self._emit(Log, {"level": level, "message": message})

    def alive(self) -> None:
        """Give a sign of life."""
        self._alive = True

    def take_alive(self) -> bool:
        """Tell whether there was a sign of life since the last call."""
        alive, self._alive = self._alive, False
        return alive

    def stop(self) -> None:
        """End the run."""
        self.stopped = True
        if self.run is not None:
            self.run.cancel()

    def make_room(self) -> None:
        """Let a waiting run go on, unless it is still too far ahead of a connection."""
        if not self._congested():
            self._room.set()

    def _congested(self) -> bool:
        events, size = self.events.unsent
        too_far = events >= MAX_UNSENT_EVENTS or (events > 1 and size >= MAX_UNSENT_BYTES)
        return too_far and self._connected.is_set()

    async def _emit(self, kind: type[TaskEvent], data: Any, text: str = "") -> None:
        if self.stopped:
            return
        self._alive = True
        self.events.append(kind, encode_value(data), text)
        self._on_event(self)
        if self._congested():
            self._room.clear()
            await self._room.wait()
            self._alive = True
