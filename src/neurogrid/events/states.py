"""State events of tasks: emitted after their commit, from what was committed (R21).

Each goes to the followers of the task, and as a hint to the owner's ``tasks`` channel.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from neurogrid.events.bus import Bus
from neurogrid.protocol.events import (
    QUEUED_ID,
    Event,
    EventId,
    EventType,
    make_event,
    opening,
    running,
)
from neurogrid.queue import eventdata
from neurogrid.queue.ops import Canceled, Claimed, Finish, Finished, Insert, Inserted, Requeued
from neurogrid.queue.policy import Status

HINT_DELAY = 0.01
"""Seconds within which hints about one owner are gathered into one message."""


def owner_topic(owner: str) -> str:
    """Return the topic that says: something of this owner changed."""
    return f"owner:{owner}"


class StateEvents:
    """Publishes what became of tasks."""

    def __init__(self, bus: Bus) -> None:
        """Publish on ``bus``."""
        self._bus = bus
        self._hinted: set[str] = set()
        self._sending: set[asyncio.Task[None]] = set()

    def inserted(self, op: Insert, answer: Inserted) -> None:
        """Say that a task was accepted, and that it runs if it does."""
        self._emit(op.owner, op.id, QUEUED_ID, EventType.QUEUED, eventdata.queued(op), answer.created_at)
        if answer.status is Status.RUNNING and op.session is not None:
            data = eventdata.running(1, op.session.node)
            self._emit(op.owner, op.id, running(1), EventType.RUNNING, data, answer.created_at)

    def claimed(self, answer: Claimed, node: str) -> None:
        """Say that a task runs."""
        data = eventdata.running(answer.attempt, node)
        self._emit(
            answer.owner, answer.task, running(answer.attempt), EventType.RUNNING, data, answer.started_at
        )

    def requeued(self, answer: Requeued) -> None:
        """Say that a task is tried again, or that its charges are used up."""
        dead = answer.status is Status.FAILED
        kind = EventType.FAILED if dead else EventType.RETRYING
        self._emit(answer.owner, answer.task, opening(answer.attempt), kind, answer.data, answer.at)

    def canceled(self, answer: Canceled) -> None:
        """Say that a task was cancelled."""
        identifier = opening(answer.attempt)
        self._emit(answer.owner, answer.task, identifier, EventType.CANCELED, eventdata.CANCELED, answer.at)

    def finished(self, op: Finish, answer: Finished) -> None:
        """Say how a task ended."""
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
        if owner not in self._hinted:
            self._hinted.add(owner)
            sending = asyncio.create_task(self._hint(owner))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    def publish(self, event: Event) -> None:
        """Publish an event that is no change of state."""
        self._bus.publish(event)

    async def _hint(self, owner: str) -> None:
        await asyncio.sleep(HINT_DELAY)
        self._hinted.discard(owner)
        await self._bus.send(owner_topic(owner), b"")

    async def close(self) -> None:
        """Send the hints that are on their way."""
        await asyncio.gather(*self._sending, return_exceptions=True)
