"""PostgreSQL's statements for new tasks: idempotency, single-flight, and the fast path (R17, R19, R20).

One statement for all rows, however many there are. It comes in two forms: tasks that may share the execution of an
equal one look for it first. Two gateways that have equal tasks at one moment take turns by a lock on what is asked
for, taken by a statement of its own: the next one then sees what the other has committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg

from neurogrid.queue import usage
from neurogrid.queue.answers import Answer, Duplicate, Inserted
from neurogrid.queue.ops import Insert
from neurogrid.queue.policy import Status
from neurogrid.queue.postgres_held import held, running, with_turn
from neurogrid.queue.statements import STATUS, XID

RUNNING_AT_ONCE = """'{"status":"running","attempt":1,"node":' || to_json(ins.node)::text || '}'"""
# Made of the row, since a join with what was sent would be a nested loop over the square of the batch.
QUEUED = """'{"status":"queued","model":' || to_json(ins.model)::text || ',"priority":"'
               || (ARRAY['high', 'normal', 'low'])[ins.class + 1] || '"}'"""

COLUMNS = (
    ("id", "uuid"), ("owner_id", "uuid"), ("lane", "text"), ("model", "text"), ("model_version", "text"),
    ("class", "int2"), ("cost", "float8"), ("weight", "float8"), ("at_once", "int"), ("present", "float8"), ("input", "text"),
    ("parameters", "text"), ("requires", "text"), ("metadata", "text"), ("input_hash", "text"),
    ("deterministic", "bool"), ("on_disconnect", "text"), ("timeout_s", "float8"),
    ("deadline", "timestamptz"), ("max_attempts", "int2"), ("session_id", "uuid"), ("gen", "int"),
    ("node", "text"), ("write_id", "uuid"), ("key", "text"), ("body_hash", "text"),
    ("key_id", "uuid"),
)  # fmt: skip
_ARRAYS = ", ".join(f"${i}::{type_}[]" for i, (_, type_) in enumerate(COLUMNS, 1))
_NAMES = ", ".join(name for name, _ in COLUMNS)
_SENT = f"SELECT u.*, clock_timestamp() AS at FROM unnest({_ARRAYS}) AS u({_NAMES})"

_ALONE = f"""
WITH u AS (
    SELECT sent.*, NULL::uuid AS leader_id FROM ({_SENT}) sent
)"""

# A leader's row stays locked until the commit, so that its end waits and then finds the new followers. One that
# waits for its own time or for other tasks is none: it may be long in coming.
_JOINING = f"""
WITH found AS MATERIALIZED (
    SELECT sent.*, l.id AS leader FROM ({_SENT}) sent LEFT JOIN LATERAL (
        SELECT t.id FROM tasks t
        WHERE t.owner_id = sent.owner_id AND t.input_hash = sent.input_hash AND t.deterministic
            AND t.leader_id IS NULL AND t.status IN ('queued', 'waiting', 'running')
            AND (t.status <> 'waiting' OR t.wait_reason IN ('backoff', 'concurrency'))
        ORDER BY t.id LIMIT 1
    ) l ON true
), leaders AS MATERIALIZED (
    SELECT t.id FROM (SELECT DISTINCT leader FROM found) f JOIN tasks t ON t.id = f.leader
    WHERE t.leader_id IS NULL AND {STATUS} IN ('queued', 'waiting', 'running')
    ORDER BY t.id FOR NO KEY UPDATE OF t
), u AS (
    SELECT found.*, CASE WHEN leader IN (SELECT id FROM leaders) THEN leader END AS leader_id FROM found
)"""

# Followers take no place in the order of service, and are charged nothing.
_INSERT = f"""
, d AS (
    SELECT u.*, u.session_id IS NOT NULL AND u.leader_id IS NULL
        AND NOT EXISTS (SELECT 1 FROM tasks q WHERE q.status = 'queued' AND q.lane = u.lane)
        AND EXISTS (SELECT 1 FROM node_sessions s
            WHERE s.id = u.session_id AND s.gen = u.gen AND s.lease_until > clock_timestamp())
        AND (u.at_once IS NULL OR u.at_once >= row_number() OVER (PARTITION BY u.owner_id ORDER BY u.id)
            + {running("u.owner_id")} AND NOT {held("u.owner_id")}) AS fast,
        coalesce(sum(u.cost / u.weight) FILTER (WHERE u.leader_id IS NULL)
            OVER (PARTITION BY u.owner_id, u.lane, u.class ORDER BY u.id), 0) AS share
    FROM u
), last AS MATERIALIZED (
    -- The gateway's own clock may be behind, after a start or a sleep; below the floors nobody looks (R16).
    SELECT o.owner_id, o.lane, o.class, greatest(o.present, (
        SELECT c.rank FROM lane_clock c WHERE c.lane = o.lane AND c.class = o.class), (
        SELECT max(t.rank) FROM tasks t
        WHERE t.owner_id = o.owner_id AND t.lane = o.lane AND t.class = o.class
            AND t.status IN ('queued', 'waiting', 'running'))) AS rank
    FROM (SELECT owner_id, lane, class, max(present) AS present FROM d GROUP BY owner_id, lane, class) o
), keys AS (
    INSERT INTO idempotency_keys AS k (owner_id, key, body_hash, task_id, expires_at)
    SELECT owner_id, key, body_hash, id, at + interval '24 hours' FROM d
    WHERE key IS NOT NULL ORDER BY owner_id, key
    ON CONFLICT (owner_id, key) DO UPDATE SET
        body_hash = excluded.body_hash, task_id = excluded.task_id, expires_at = excluded.expires_at
    WHERE k.expires_at < clock_timestamp()
    RETURNING task_id
), ins AS (
    INSERT INTO tasks (
        id, owner_id, key_id, status, lane, model, model_version, class, rank, cost, weight, at_once, input,
        parameters, requires, metadata, input_hash, deterministic, cached, on_disconnect, timeout_s, deadline, max_attempts,
        attempt, errors, losses, dead_letter, session_id, node, write_id, wait_reason, leader_id, followed,
        output_apart, prompt_tokens, completion_tokens, compute_seconds, created_at, started_at)
    SELECT id, owner_id, key_id,
        CASE WHEN leader_id IS NOT NULL THEN 'waiting' WHEN fast THEN 'running' ELSE 'queued' END,
        lane, model, model_version, class, last.rank + CASE WHEN leader_id IS NULL THEN share ELSE 0 END, cost,
        weight, at_once, input, parameters, requires, metadata, input_hash, deterministic, false, on_disconnect,
        timeout_s, deadline, max_attempts, 1, 0, 0, false, CASE WHEN fast THEN session_id END,
        CASE WHEN fast THEN node END, write_id, CASE WHEN leader_id IS NOT NULL THEN 'leader' END, leader_id,
        false, false, 0, 0, 0, at, CASE WHEN fast THEN at END
    FROM d JOIN last USING (owner_id, lane, class)
    WHERE key IS NULL OR id IN (SELECT task_id FROM keys)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, owner_id, key_id, status, created_at, node, rank, model, class, leader_id, cost, weight
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT ins.id, e.attempt, 1, ins.owner_id, {XID}, e.type, ins.created_at,
           CASE e.attempt WHEN 0 THEN {QUEUED} ELSE {RUNNING_AT_ONCE} END
    FROM ins CROSS JOIN (VALUES (0, 'task.queued'), (1, 'task.running')) AS e(attempt, type)
    WHERE e.attempt = 0 OR ins.status = 'running'
), counted AS ({usage.accepted("ins")}
)"""

# A leader is served where the best-placed of its followers would be.
_LIFT = f"""
, best AS (
    SELECT DISTINCT ON (leader_id) leader_id, class, rank + cost / weight AS rank
    FROM ins WHERE leader_id IS NOT NULL ORDER BY leader_id, class, rank + cost / weight
), lifted AS (
    SELECT best.leader_id, t.id, best.class, best.rank,
        {STATUS} <> 'running' AND (best.class, best.rank) < (t.class, t.rank) AS better
    FROM best JOIN tasks t ON t.id = best.leader_id
), lift AS (
    UPDATE tasks t SET
        followed = true, class = CASE WHEN better THEN lifted.class ELSE t.class END,
        rank = CASE WHEN better THEN lifted.rank ELSE t.rank END
    FROM lifted WHERE t.id = lifted.id
)"""
_INSERTED = "\nSELECT id::text, status, created_at, rank FROM ins"

INSERT = _ALONE + _INSERT + _INSERTED
JOIN = _JOINING + _INSERT + _LIFT + _INSERTED

TAKE_TURNS = """
SELECT pg_advisory_xact_lock(k) FROM (
    SELECT DISTINCT hashtextextended(what, 0) AS k FROM unnest($1::text[]) AS u(what) ORDER BY k
) AS turns
"""

INSERTED_BEFORE = """
SELECT id::text,
       CASE WHEN status = 'running' AND write_id = w THEN 'running'
            WHEN leader_id IS NOT NULL THEN 'waiting' ELSE 'queued' END AS status,
       created_at, rank
FROM tasks JOIN unnest($1::uuid[], $2::uuid[]) AS d(i, w) ON id = i
"""

KEYS = """
SELECT owner_id::text, key, task_id::text, body_hash
FROM idempotency_keys JOIN unnest($1::uuid[], $2::text[]) AS d(o, k) ON owner_id = o AND key = k
"""

_Connection: TypeAlias = "asyncpg.Connection[Any]"


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def take_turns(ops: Sequence[Insert]) -> set[str]:
    """Return the owners of whose tasks only so many may begin: whether they do is for a transaction to decide."""
    return {op.owner for op in ops if op.at_once is not None and op.session is not None}


def _row(op: Insert, *, fast: bool) -> tuple[Any, ...]:
    session = op.session if fast else None
    return (
        op.id, op.owner, op.lane, op.model, op.model_version, op.priority, op.cost, op.weight,
        op.at_once, op.present, op.input, op.parameters,
        op.requires, op.metadata, op.input_hash, op.deterministic, op.on_disconnect, op.timeout_s,
        op.deadline, op.max_attempts, session and session.id, session and session.gen,
        session and session.node, op.write_id, op.once and op.once.key,
        op.once and op.once.body_hash, op.key_id,
    )  # fmt: skip


async def insert(connection: _Connection, ops: Sequence[Insert], *, repeat: bool) -> list[Answer]:
    """Insert tasks that share nothing."""
    if not ops:
        return []
    done = await _insert(connection, INSERT, ops, repeat=repeat)
    return [done[op.id] for op in ops]


async def join(connection: _Connection, ops: Sequence[Insert], *, repeat: bool) -> list[Answer]:
    """Insert tasks each of which may share the execution of another, also of one among them.

    Runs in a transaction of its own: it waits for leaders that others are about to finish, and whoever waits
    must not hold what these may wait for.
    """
    await connection.execute(TAKE_TURNS, [_what(op) for op in ops])
    done: dict[str, Answer] = {}
    led: set[str] = set()
    rest = ops
    while rest:
        # Of equal ones that come together the first is to lead; the next statement finds it.
        firsts = {_what(op): op.id for op in reversed(rest)}
        now = [op for op in rest if _what(op) in led or firsts[_what(op)] == op.id]
        done |= await _insert(connection, JOIN, now, repeat=repeat)
        led |= {_what(op) for op in now if isinstance(done[op.id], Inserted)}
        rest = [op for op in rest if op.id not in done]
    return [done[op.id] for op in ops]


def _what(op: Insert) -> str:
    return op.owner + op.input_hash


async def _insert(
    connection: _Connection, statement: str, ops: Sequence[Insert], *, repeat: bool
) -> dict[str, Answer]:
    limited = take_turns(ops)
    late = limited - await with_turn(connection, limited) if limited else limited
    rows = [_row(op, fast=op.owner not in late) for op in sorted(ops, key=lambda op: op.id)]
    found = await connection.fetch(statement, *_columns(rows))
    if len(found) < len(ops) or repeat:
        keys = _columns([(op.id, op.write_id) for op in ops])
        found += await connection.fetch(INSERTED_BEFORE, *keys)
    done: dict[str, Answer] = {row[0]: Inserted(row[0], Status(row[1]), *row[2:]) for row in found}
    if len(done) < len(ops):
        done |= await _duplicates(connection, [op for op in ops if op.id not in done])
    return done


async def _duplicates(connection: _Connection, ops: Sequence[Insert]) -> dict[str, Answer]:
    pairs = _columns([(op.owner, op.once and op.once.key) for op in ops])
    known = {
        (owner, key): Duplicate(task, body_hash)
        for owner, key, task, body_hash in await connection.fetch(KEYS, *pairs)
    }
    return {op.id: known[op.owner, op.once.key] for op in ops if op.once is not None}
