"""PostgreSQL's statements for what a leader leaves to its followers (R20).

They are statements of their own, after the one that ended the leader: that one waits for the tasks that join it at
the same moment, but sees only what was committed when it began. Followers that somebody else is ending just now are
passed over rather than waited for; the sweep comes back to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

import asyncpg
from msgspec.structs import replace

from neurogrid.queue import eventdata
from neurogrid.queue.answers import Answer, Canceled, Expired, Finished, Heirs, Requeued
from neurogrid.queue.ops import Settle
from neurogrid.queue.policy import Status
from neurogrid.queue.statements import STATUS, XID

# What is true of the work itself and not of this one task: its output, or an error of the model that is final.
_RESULT = f"""({STATUS} = 'completed'
        OR {STATUS} = 'failed' AND NOT t.dead_letter AND t.final_seq > 0)"""
_FOLLOWERS = f"""FROM l JOIN tasks t ON t.leader_id = l.id
    WHERE {STATUS} = 'waiting' ORDER BY t.id FOR UPDATE OF t SKIP LOCKED"""

SHARE_RESULT = f"""
WITH l AS MATERIALIZED (
    SELECT * FROM tasks t WHERE t.id = ANY($1::uuid[]) AND {_RESULT}
), f AS MATERIALIZED (
    SELECT t.id, l.id AS leader {_FOLLOWERS}
), upd AS (
    UPDATE tasks t SET
        status = l.status, attempt = l.attempt, final_seq = l.final_seq, wait_reason = NULL, node = l.node,
        output = l.output, output_apart = l.output_apart, error = l.error, prompt_tokens = l.prompt_tokens,
        completion_tokens = l.completion_tokens, compute_seconds = l.compute_seconds,
        started_at = greatest(l.started_at, t.created_at), finished_at = clock_timestamp()
    FROM f JOIN l ON l.id = f.leader WHERE t.id = f.id
    RETURNING t.id, t.owner_id, t.attempt, t.final_seq, t.status, t.node, t.started_at, t.finished_at, f.leader
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT upd.id, upd.attempt, upd.final_seq, upd.owner_id, {XID}, e.type, upd.finished_at, e.data
    FROM upd JOIN task_events e
        ON e.task_id = upd.leader AND e.attempt = upd.attempt AND e.seq = upd.final_seq
)
SELECT leader::text, id::text, owner_id::text, attempt, final_seq, status, node, started_at, finished_at FROM upd
"""

# The heir's first attempt is later than all those of its former leader, which its watchers have seen.
HAND_OVER = f"""
WITH l AS MATERIALIZED (
    SELECT t.id, t.attempt + (t.final_seq > 0)::int AS next
    FROM tasks t WHERE t.id = ANY($1::uuid[]) AND {STATUS} IN ('failed', 'canceled') AND NOT {_RESULT}
), f AS MATERIALIZED (
    SELECT t.id, t.class, l.id AS leader, l.next {_FOLLOWERS}
), h AS MATERIALIZED (
    SELECT DISTINCT ON (leader) leader, id AS heir, min(class) OVER one AS class, count(*) OVER one > 1 AS followed
    FROM f WINDOW one AS (PARTITION BY leader) ORDER BY leader, id
), upd AS (
    UPDATE tasks t SET
        status = CASE WHEN t.id = heir THEN 'queued' ELSE 'waiting' END,
        wait_reason = CASE WHEN t.id <> heir THEN 'leader' END,
        leader_id = CASE WHEN t.id <> heir THEN heir END,
        followed = t.id = heir AND h.followed,
        class = CASE WHEN t.id = heir THEN h.class ELSE t.class END,
        attempt = CASE WHEN t.id = heir THEN greatest(f.next, t.attempt + 1) ELSE t.attempt END,
        rank = CASE WHEN t.id = heir THEN t.cost / t.weight + greatest(t.rank, (
            SELECT c.rank FROM lane_clock c WHERE c.lane = t.lane AND c.class = h.class)) ELSE t.rank END
    FROM f JOIN h USING (leader) WHERE t.id = f.id
    RETURNING h.leader, t.id, t.owner_id, t.lane, t.attempt, t.status
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, 0, owner_id, {XID}, 'task.retrying', clock_timestamp(), $2 FROM upd WHERE status = 'queued'
    RETURNING task_id, at, data
)
SELECT leader::text, id::text, owner_id::text, lane, attempt, status, at, data FROM upd JOIN ev ON task_id = id
"""

_Connection: TypeAlias = "asyncpg.Connection[Any]"
_Row: TypeAlias = Sequence[Any]


async def settle(connection: _Connection, leaders: Iterable[str]) -> dict[str, Heirs]:
    """Give the followers of finished ``leaders`` what is theirs; return what that is, by leader."""
    ids = sorted(leaders)
    if not ids:
        return {}
    finished: defaultdict[str, list[Finished]] = defaultdict(list)
    for leader, task, owner, attempt, seq, status, *rest in await connection.fetch(SHARE_RESULT, ids):
        finished[leader].append(Finished(task, owner, attempt, seq, Status(status), *rest))
    new = {
        leader: Requeued(task, owner, lane, attempt, Status(status), at, data)
        for leader, task, owner, lane, attempt, status, at, data in await connection.fetch(
            HAND_OVER, ids, eventdata.INHERITED
        )
    }
    return {leader: Heirs(tuple(finished.get(leader, ())), new.get(leader)) for leader in ids}


async def settle_all(connection: _Connection, ops: Sequence[Settle]) -> list[Answer]:
    """Carry out ``Settle``."""
    heirs = await settle(connection, {op.leader for op in ops})
    return [heirs[op.leader] for op in ops]


Ended = Finished | Requeued | Canceled | Expired


async def with_heirs(connection: _Connection, ended: dict[str, tuple[bool, Ended]]) -> dict[str, Answer]:
    """Return the answers of ``ended``, (followed, answer) by some key, each with what it left to its followers."""
    heirs = await settle(connection, {answer.task for followed, answer in ended.values() if followed})
    return {
        key: replace(answer, heirs=heirs[answer.task]) if followed else answer
        for key, (followed, answer) in ended.items()
    }


def ended(rows: Iterable[_Row], make: Any) -> dict[str, tuple[bool, Ended]]:
    """Return rows of (write_id, followed, …) as what ``with_heirs`` takes, each answer made of the rest."""
    return {write_id: (followed, cast("Ended", make(*rest))) for write_id, followed, *rest in rows}
