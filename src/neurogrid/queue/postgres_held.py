"""PostgreSQL's statements for owners who may run only so many tasks at once (LIM-3).

A claim that meets tasks of such owners does not begin them. It takes the owners' turns, which whoever else claims for
them waits for, and then looks at what they run: so it sees what the last one has begun, and the bound is exact however
many gateways claim. What is over it waits apart from the queue, where it is in nobody's way, and comes back in order
when something of its owner ends; what would overtake it joins it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, TypeAlias

import asyncpg

from neurogrid.queue.answers import Admitted, Answer
from neurogrid.queue.ops import Admit, Want
from neurogrid.queue.statements import CLAIMED, RUNNING, STATUS, XID

AT_ONCE: Final = 64
"""Tasks of an owner, lane and class that one claim sets apart."""

TAKE_TURNS = """
SELECT pg_advisory_xact_lock(k) FROM (
    SELECT DISTINCT hashtextextended('runs ' || owner, 0) AS k FROM unnest($1::text[]) AS u(owner) ORDER BY k
) AS turns
"""
TRY_TURNS = """
SELECT owner FROM unnest($1::text[]) AS u(owner)
WHERE pg_try_advisory_xact_lock(hashtextextended('runs ' || owner, 0))
"""

WAITS = "t.status = 'waiting' AND t.wait_reason = 'concurrency'"


def running(owner: str) -> str:
    """Return the SQL that counts what ``owner`` runs."""
    return f"""(SELECT count(*) FROM tasks r
        WHERE r.owner_id = {owner} AND r.status = 'running' AND r.at_once IS NOT NULL)"""


def held(owner: str) -> str:
    """Return the SQL that tells whether tasks of ``owner`` wait for others of theirs."""
    return f"EXISTS (SELECT 1 FROM tasks t WHERE t.owner_id = {owner} AND {WAITS})"


BEGIN = f"""
WITH met AS MATERIALIZED (
    SELECT t.id, t.owner_id, t.lane, t.class, t.rank, t.at_once, t.wait_reason, d.session_id, d.node, d.write_id
    FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::uuid[])
        AS d(id, session_id, gen, node, write_id)
    JOIN tasks t ON t.id = d.id
    JOIN node_sessions s ON s.id = d.session_id AND s.gen = d.gen AND s.lease_until > clock_timestamp()
    WHERE {STATUS} = 'queued' ORDER BY t.id FOR UPDATE OF t SKIP LOCKED
), owners AS MATERIALIZED (
    SELECT o.owner_id, {running("o.owner_id")} AS running, {held("o.owner_id")} AS held
    FROM (SELECT DISTINCT owner_id FROM met) o
), judged AS MATERIALIZED (
    -- Those that came later than the ones held back wait behind them; who was let in again has its reason still.
    SELECT met.*, owners.running, owners.held AND met.wait_reason IS NULL AS late
    FROM met JOIN owners USING (owner_id)
), decided AS MATERIALIZED (
    SELECT judged.*, NOT late AND at_once >= running
        + row_number() OVER (PARTITION BY owner_id, late ORDER BY class, rank, id) AS begins
    FROM judged
), upd AS (
    UPDATE tasks t SET
        status = 'running', session_id = d.session_id, node = d.node, wait_reason = NULL,
        started_at = clock_timestamp(), write_id = d.write_id
    FROM decided d WHERE d.begins AND t.id = d.id
    RETURNING t.*
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, 1, owner_id, {XID}, 'task.running', started_at, {RUNNING} FROM upd
)
SELECT {CLAIMED} FROM upd
"""

HOLD = f"""
WITH over AS MATERIALIZED (
    SELECT t.id FROM (
        SELECT m.owner_id, m.lane, m.class, min(m.rank) AS rank
        FROM unnest($1::uuid[]) AS d(id) JOIN tasks m ON m.id = d.id
        WHERE m.status = 'queued' GROUP BY m.owner_id, m.lane, m.class
    ) d CROSS JOIN LATERAL (
        SELECT id FROM tasks
        WHERE status = 'queued' AND owner_id = d.owner_id AND lane = d.lane AND class = d.class AND rank >= d.rank
            AND at_once IS NOT NULL
        ORDER BY rank LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED
    ) t
)
UPDATE tasks t SET status = 'waiting', wait_reason = 'concurrency' FROM over WHERE t.id = over.id
"""

ADMIT = f"""
WITH RECURSIVE lanes AS (
    SELECT o.owner_id, (SELECT min(t.lane) FROM tasks t WHERE t.owner_id = o.owner_id AND {WAITS}) AS lane
    FROM (SELECT DISTINCT owner_id FROM unnest($1::uuid[]) AS u(owner_id)) o
    UNION ALL
    SELECT l.owner_id, (
        SELECT min(t.lane) FROM tasks t WHERE t.owner_id = l.owner_id AND {WAITS} AND t.lane > l.lane)
    FROM lanes l WHERE l.lane IS NOT NULL
), room AS MATERIALIZED (
    SELECT l.owner_id, l.lane, greatest(0, (
        SELECT t.at_once FROM tasks t WHERE t.owner_id = l.owner_id AND {WAITS} AND t.lane = l.lane
        ORDER BY t.class, t.rank, t.id LIMIT 1) - {running("l.owner_id")} - (
        SELECT count(*) FROM tasks t WHERE t.owner_id = l.owner_id AND t.lane = l.lane
            AND t.status = 'queued' AND t.wait_reason = 'concurrency')) AS places
    FROM lanes l WHERE l.lane IS NOT NULL
), next AS MATERIALIZED (
    SELECT n.id FROM room CROSS JOIN LATERAL (
        SELECT t.id FROM tasks t WHERE t.owner_id = room.owner_id AND {WAITS} AND t.lane = room.lane
        ORDER BY t.class, t.rank, t.id LIMIT room.places FOR UPDATE OF t SKIP LOCKED
    ) n
), upd AS (
    -- It may have waited for longer than floors lie in the past (R16).
    UPDATE tasks t SET status = 'queued', rank = greatest(t.rank, (
        SELECT c.rank FROM lane_clock c WHERE c.lane = t.lane AND c.class = t.class))
    FROM next WHERE t.id = next.id
    RETURNING t.owner_id, t.lane
)
SELECT DISTINCT owner_id::text, lane FROM upd
"""

_Connection: TypeAlias = "asyncpg.Connection[Any]"
_Row: TypeAlias = Sequence[Any]


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


async def begin(connection: _Connection, met: Sequence[_Row], wants: Mapping[str, Want]) -> list[_Row]:
    """Begin those of the tasks a claim met that their owners may run now, and set the others apart.

    ``met`` are rows of a claim: id and owner first, last the ``write_id`` of the want that was to get it.
    """
    owners = sorted({row[1] for row in met})
    rows = []
    for row in sorted(met, key=lambda row: str(row[0])):
        session = wants[row[-1]].session
        rows.append((row[0], session.id, session.gen, session.node, row[-1]))
    async with _transaction(connection):
        await connection.execute(TAKE_TURNS, owners)
        begun = await connection.fetch(BEGIN, *_columns(rows))
        if len(begun) < len(met):
            known = {row[0] for row in begun}
            await connection.execute(HOLD, [row[0] for row in met if row[0] not in known])
            await admit(connection, owners)
    return list(begun)


def _transaction(connection: _Connection) -> AbstractAsyncContextManager[Any]:
    return nullcontext() if connection.is_in_transaction() else connection.transaction()


async def with_turn(connection: _Connection, owners: Collection[str]) -> set[str]:
    """Take the turns of those ``owners`` for whom nobody else begins tasks at this moment; return them.

    It does not wait, for whoever inserts has begun tasks of other owners already.
    """
    return {row[0] for row in await connection.fetch(TRY_TURNS, sorted(owners))}


async def admit(connection: _Connection, owners: Collection[str]) -> dict[str, Admitted]:
    """Make claimable what ``owners`` may run now of what waits; return in which lanes, by owner."""
    if not owners:
        return {}
    lanes: defaultdict[str, list[str]] = defaultdict(list)
    for owner, lane in await connection.fetch(ADMIT, sorted(owners)):
        lanes[owner].append(lane)
    return {owner: Admitted(tuple(found)) for owner, found in lanes.items()}


async def admit_all(connection: _Connection, ops: Sequence[Admit]) -> list[Answer]:
    """Carry out ``Admit``."""
    admitted = await admit(connection, {op.owner for op in ops})
    return [admitted.get(op.owner, Admitted()) for op in ops]
