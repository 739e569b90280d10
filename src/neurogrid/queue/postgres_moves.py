"""PostgreSQL's statements for what happens to a task from outside its attempts: deadline, bill, replay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg

from neurogrid.queue import eventdata, usage
from neurogrid.queue.answers import Answer, Expired, Requeued
from neurogrid.queue.ops import Bill, Expire, Replay
from neurogrid.queue.policy import Status
from neurogrid.queue.postgres_heirs import ended, with_heirs
from neurogrid.queue.statements import ENDED, MOVED_BEFORE, STATUS, XID

EXPIRE = f"""
WITH d AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS d(id, write_id)
), old AS MATERIALIZED (
    SELECT t.id, t.session_id, d.write_id FROM d JOIN tasks t ON t.id = d.id
    WHERE {STATUS} IN ('queued', 'waiting', 'running') AND t.deadline <= clock_timestamp()
    ORDER BY t.id FOR UPDATE OF t
), upd AS (
    UPDATE tasks t SET
        status = 'failed', attempt = {ENDED}, final_seq = 0, session_id = NULL, wait_reason = NULL,
        run_at = NULL, error = $3, finished_at = clock_timestamp(), write_id = old.write_id
    FROM old WHERE t.id = old.id
    RETURNING t.id, t.owner_id, t.attempt, old.session_id, t.finished_at, t.write_id, t.followed
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, 0, owner_id, {XID}, 'task.failed', finished_at, $4 FROM upd
)
SELECT write_id::text, followed, id::text, owner_id::text, attempt, session_id::text, finished_at FROM upd
"""

BILL = f"""
WITH upd AS (
    UPDATE tasks t SET
        prompt_tokens = d.prompt_tokens, completion_tokens = d.completion_tokens,
        compute_seconds = d.compute_seconds
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::float8[])
        AS d(id, attempt, prompt_tokens, completion_tokens, compute_seconds)
    WHERE t.id = d.id AND t.attempt = d.attempt AND {STATUS} IN ('canceled', 'failed') AND t.final_seq = 0
        AND t.leader_id IS NULL AND t.prompt_tokens = 0 AND t.completion_tokens = 0 AND t.compute_seconds = 0
    RETURNING t.*
), charged AS ({usage.used("upd")}
)
SELECT id::text, attempt FROM upd
"""

# Ranked as if it were submitted now (R16, R17). A deadline that has passed was that of the former life.
REPLAY = f"""
WITH d AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS d(id, owner_id, write_id)
), old AS MATERIALIZED (
    SELECT t.id, t.owner_id, t.lane, t.class, t.cost / t.weight AS cost, d.write_id, t.key_id, t.model,
        t.finished_at, t.leader_id, t.prompt_tokens, t.completion_tokens, t.compute_seconds
    FROM d JOIN tasks t ON t.id = d.id
    WHERE t.owner_id = d.owner_id AND {STATUS} IN ('failed', 'canceled')
    ORDER BY t.id FOR UPDATE OF t
), last AS MATERIALIZED (
    SELECT o.owner_id, o.lane, o.class, coalesce(greatest(
        (SELECT c.rank FROM lane_clock c WHERE c.lane = o.lane AND c.class = o.class),
        (SELECT max(t.rank) FROM tasks t
         WHERE t.owner_id = o.owner_id AND t.lane = o.lane AND t.class = o.class
             AND t.status IN ('queued', 'waiting', 'running'))), 0) AS rank
    FROM (SELECT DISTINCT owner_id, lane, class FROM old) o
), ranked AS (
    SELECT old.id, old.write_id,
        last.rank + sum(old.cost) OVER (PARTITION BY owner_id, lane, class ORDER BY old.id) AS rank
    FROM old JOIN last USING (owner_id, lane, class)
), upd AS (
    UPDATE tasks t SET
        status = 'queued', attempt = t.attempt + 1, errors = 0, losses = 0, dead_letter = false,
        output = NULL, output_apart = false, error = NULL, final_seq = NULL, leader_id = NULL, followed = false,
        prompt_tokens = 0, completion_tokens = 0, compute_seconds = 0, started_at = NULL,
        finished_at = NULL, deadline = CASE WHEN t.deadline > clock_timestamp() THEN t.deadline END,
        rank = ranked.rank, write_id = ranked.write_id
    FROM ranked WHERE t.id = ranked.id
    RETURNING t.id, t.owner_id, t.lane, t.attempt, t.status, t.write_id
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, 0, owner_id, {XID}, 'task.retrying', clock_timestamp(), $4 FROM upd
    RETURNING task_id, at, data
), kept AS ({usage.used("old", "usage_archive")}
)
SELECT write_id::text, false, id::text, owner_id::text, lane, attempt, status, at, data
FROM upd JOIN ev ON task_id = id
"""

_Connection: TypeAlias = "asyncpg.Connection[Any]"


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*sorted(rows), strict=True)]


async def expire(connection: _Connection, ops: Sequence[Expire], *, repeat: bool) -> list[Answer]:
    """Fail tasks past their deadline."""
    if not ops:
        return []
    keys = _columns([(op.task, op.write_id) for op in ops])
    found = await connection.fetch(EXPIRE, *keys, eventdata.DEADLINE_EXCEEDED, eventdata.EXPIRED)
    over = ended(found, Expired)
    if repeat:
        over |= ended(await connection.fetch(MOVED_BEFORE, *keys), _expired_before)
    done = await with_heirs(connection, over)
    return [done.get(op.write_id) for op in ops]


def _expired_before(task: str, owner: str, _: str, attempt: int, __: str, at: datetime, ___: str) -> Expired:
    # Who ran it is no longer known; reconciliation stops the node (R7).
    return Expired(task, owner, attempt, None, at)


async def bill(connection: _Connection, ops: Sequence[Bill]) -> list[Answer]:
    """Set the usage of stopped attempts."""
    if not ops:
        return []
    rows = [
        (op.task, op.attempt, op.usage.prompt_tokens, op.usage.completion_tokens, op.usage.compute_seconds)
        for op in ops
    ]
    billed = {tuple(row) for row in await connection.fetch(BILL, *_columns(rows))}
    return [(op.task, op.attempt) in billed or None for op in ops]


async def replay(connection: _Connection, ops: Sequence[Replay], *, repeat: bool) -> list[Answer]:
    """Queue finished tasks anew."""
    if not ops:
        return []
    rows = [(op.task, op.owner, op.write_id) for op in ops]
    found = list(await connection.fetch(REPLAY, *_columns(rows), eventdata.REPLAYED))
    if repeat:
        found += await connection.fetch(MOVED_BEFORE, *_columns([(op.task, op.write_id) for op in ops]))
    done: dict[str, Answer] = {
        write_id: Requeued(task, owner, lane, attempt, Status(status), at, data)
        for write_id, _, task, owner, lane, attempt, status, at, data in found
    }
    return [done.get(op.write_id) for op in ops]
