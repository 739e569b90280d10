"""What the hub asks of the rows. Implemented by the feature that owns tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from neurogrid.protocol.events import Event, EventId


class TaskRecords(Protocol):
    """The durable side of live events: the log of state events and the final output (R23, R25)."""

    async def owner_of(self, task_id: str) -> str | None:
        """Return the id of the task's owner; ``None`` when there is no such task."""

    async def leader_of(self, task_id: str) -> str | None:
        """Return the id of the task whose execution this one waits to share; ``None`` when it shares none (R20)."""

    async def state_events(self, task_id: str, after: EventId) -> list[Event]:
        """Return all committed state events of the task after ``after``, in order; final ones with their output."""

    async def final_text(self, task_id: str) -> tuple[EventId, str] | None:
        """Return the id of the final event and the output's text (``""`` where it has none); ``None`` while the
        task is not over.
        """

    async def newest_states(self, task_ids: Sequence[str]) -> list[Event]:
        """Return the newest state event of each of the tasks, in any order, by one query; their data may be empty.

        This is how events that were lost without a trace are noticed (R24).
        """

    async def owner_events(
        self, owner_id: str, cursor: str | None, limit: int
    ) -> tuple[list[tuple[str, Event]], str]:
        """Return state events of all tasks of an owner as ``(cursor, event)``, and where to read on.

        Reads at most ``limit`` events after ``cursor`` by the rule of R25. The second value is the cursor of the
        last event returned, or a place at or after ``cursor`` when there is none. ``None`` means from now on:
        no events. Raises ``BadRequest`` when the cursor is none.
        """
