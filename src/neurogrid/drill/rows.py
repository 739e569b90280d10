"""What the database says at the end, by plain SQL."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from neurogrid.drill.verdict import EventRow, TaskRow
from neurogrid.drill.work import End
from neurogrid.protocol.events import EventId

LABEL = "drill"
"""The name in a task's metadata under which stands the number of its submission."""

_LIVE = "SELECT count(*) FROM tasks WHERE status IN ('queued', 'waiting', 'running')"
_TASKS = """
SELECT t.id::text, t.status, t.attempt, coalesce(o.output, t.output) AS output, t.error, t.metadata
FROM tasks t LEFT JOIN task_outputs o ON t.output_apart AND o.task_id = t.id AND o.attempt = t.attempt
"""
_EVENTS = "SELECT task_id::text, attempt, seq, type FROM task_events"


class Rows:
    """Reads a database past everything that the drill does to the connections of the gateways."""

    def __init__(self, socket_folder: str, user: str) -> None:
        """Connect over the socket in ``socket_folder`` when asked."""
        self._where = {"host": socket_folder, "user": user, "database": "postgres"}

    async def live(self) -> int:
        """Return how many tasks are not over. Raises ``OSError``, ``asyncpg.PostgresError``."""
        return int((await self._fetch(_LIVE))[0][0])

    async def tasks(self) -> list[TaskRow]:
        """Return all tasks."""
        return [_task(row) for row in await self._fetch(_TASKS)]

    async def events(self) -> list[EventRow]:
        """Return all changes of state."""
        return [EventRow(row[0], EventId(row[1], row[2]), row[3]) for row in await self._fetch(_EVENTS)]

    async def _fetch(self, statement: str) -> list[Any]:
        connection = await asyncpg.connect(**self._where, timeout=10, command_timeout=60)
        try:
            return list(await connection.fetch(statement))
        finally:
            connection.terminate()


def _task(row: Any) -> TaskRow:
    number = json.loads(row["metadata"])[LABEL]
    output, error = (json.loads(row[name]) if row[name] else None for name in ("output", "error"))
    return TaskRow(row["id"], int(number), End(row["status"], row["attempt"], output, error))
