"""What the database says at the end, by plain SQL."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from neurogrid.drill.verdict import ChargeRow, EventRow, TaskRow
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
# Requests, prompt tokens, completion tokens and microseconds: as charged, and as the tasks say.
_CHARGES = """
WITH sides AS (
    SELECT true AS charged, user_id, key_id, model, day, requests, prompt_tokens, completion_tokens, compute_us
    FROM usage_days
    UNION ALL
    SELECT true, user_id, key_id, model, day, requests, prompt_tokens, completion_tokens, compute_us
    FROM usage_deltas
    UNION ALL
    SELECT false, user_id, key_id, model, day, requests, prompt_tokens, completion_tokens, compute_us
    FROM usage_archive
    UNION ALL
    SELECT false, owner_id, coalesce(key_id, '00000000-0000-0000-0000-000000000000'), model,
        (created_at AT TIME ZONE 'UTC')::date, 1, 0, 0, 0
    FROM tasks
    UNION ALL
    SELECT false, owner_id, coalesce(key_id, '00000000-0000-0000-0000-000000000000'), model,
        (finished_at AT TIME ZONE 'UTC')::date, 0, prompt_tokens, completion_tokens,
        floor(compute_seconds * 1e6::float8 + 0.5::float8)::bigint
    FROM tasks WHERE finished_at IS NOT NULL AND leader_id IS NULL
)
SELECT user_id::text, key_id::text, model, day::text, charged, sum(requests)::bigint, sum(prompt_tokens)::bigint,
    sum(completion_tokens)::bigint, sum(compute_us)::bigint
FROM sides GROUP BY 1, 2, 3, 4, 5
"""
_NOTHING = (0, 0, 0, 0)


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

    async def charges(self) -> list[ChargeRow]:
        """Return what was charged, beside what the tasks say."""
        sides: dict[str, dict[bool, tuple[int, ...]]] = {}
        for *whose, charged, requests, prompt, completion, compute in await self._fetch(_CHARGES):
            sides.setdefault(" ".join(whose), {})[charged] = (requests, prompt, completion, compute)
        return [
            ChargeRow(whose, both.get(True, _NOTHING), both.get(False, _NOTHING))
            for whose, both in sides.items()
        ]

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
