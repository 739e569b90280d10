"""State events of tasks: emitted after their commit, from what was committed (R21).

Each goes to the followers of the task, and as a hint to the owner's ``tasks`` channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from neurogrid.events.bus import Bus
from neurogrid.protocol.events import (
    FINAL,
    Event,
    EventId,
    EventType,
    make_event,
    opening,
    running,
)
from neurogrid.queue import eventdata
from neurogrid.queue.answers import Canceled, Claimed, Expired, Finished, Requeued
from neurogrid.queue.ops import Finish
from neurogrid.queue.policy import Status

HINT_DELAY = 0.01
"""Seconds within which hints are gathered into one message a topic."""
ENDED = "ended"
"""Topic of the ids of tasks that came to their end, separated by blanks."""


def owner_topic(owner: str) -> str:
    """Return the topic that says: something of this owner changed."""
    return f"owner:{owner}"


class StateEvents:
    """Publishes what became of tasks."""

    def __init__(self, bus: Bus) -> None:
        """Publish on ``bus``."""
        self._bus = bus
        self._changed: set[str] = set()
        self._ended: list[str] = []
        self._hints: asyncio.Task[None] | None = None
        self.on_end: Callable[[str], None] | None = None
        """Called at once with the id of each task whose end was committed by this process."""

    def inserted(self, owner: str) -> None:
        """Say that a task was accepted.

        Its first events need no carrying: nobody can follow a task before its id is told, and whoever follows
        it from then on reads them from the rows.
        """
        self._hint_at(owner)

    def claimed(self, answer: Claimed, node: str) -> None:
        """Say that a task runs."""
        data = eventdata.running(answer.attempt, node)
        self._emit(
            answer.owner, answer.task, running(answer.attempt), EventType.RUNNING, data, answer.started_at
        )

    def requeued(self, answer: Requeued) -> None:
        """Say that a task is tried again or replayed, or that its charges are used up."""
        dead = answer.status is Status.FAILED
        kind = EventType.FAILED if dead else EventType.RETRYING
        self._emit(answer.owner, answer.task, opening(answer.attempt), kind, answer.data, answer.at)

    def canceled(self, answer: Canceled) -> None:
        """Say that a task was cancelled."""
        identifier = opening(answer.attempt)
        self._emit(answer.owner, answer.task, identifier, EventType.CANCELED, eventdata.CANCELED, answer.at)

    def expired(self, answer: Expired) -> None:
        """Say that a task missed its deadline."""
        identifier = opening(answer.attempt)
        self._emit(answer.owner, answer.task, identifier, EventType.FAILED, eventdata.EXPIRED, answer.at)

    def finished(self, op: Finish, answer: Finished) -> None:
        """Say how a task ended, and with it those who shared its execution."""
        for one in (answer, *answer.heirs.finished):
            self._finished(op, one)

    def _finished(self, op: Finish, answer: Finished) -> None:
        kind = EventType.COMPLETED if answer.status is Status.COMPLETED else EventType.FAILED
        data = eventdata.with_result(
            eventdata.finished(op), op.output, answer.started_at, answer.finished_at, apart=op.output_apart
        )
        identifier = EventId(answer.attempt, answer.final_seq)
        self._emit(answer.owner, answer.task, identifier, kind, data, answer.finished_at)

    def _emit(
        self, owner: str, task: str, identifier: EventId, kind: EventType, data: str, at: datetime
    ) -> None:
        self.publish(make_event(task, identifier, kind, data.encode(), at))
        if kind in FINAL:
            if self.on_end is not None:
                self.on_end(task)
            self._ended.append(task)
        self._hint_at(owner)

    def _hint_at(self, owner: str) -> None:
        self._changed.add(owner)
        if self._hints is None:
            self._hints = asyncio.create_task(self._hint(), name="events.hints")

    def publish(self, event: Event) -> None:
        """Publish an event that is no change of state."""
        self._bus.publish(event)

    async def _hint(self) -> None:
        await asyncio.sleep(HINT_DELAY)
        self._hints = None
        changed, self._changed = self._changed, set()
        ended, self._ended = self._ended, []
        if ended:
            await self._bus.send(ENDED, " ".join(ended).encode())
        for owner in changed:
            await self._bus.send(owner_topic(owner), b"")

    async def close(self) -> None:
        """Send the hints that are on their way."""
        if self._hints is not None:
            await self._hints
