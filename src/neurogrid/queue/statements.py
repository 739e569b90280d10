"""The journal's statements for PostgreSQL: one for all rows of a kind, however many there are.

Rows arrive as parallel arrays, sorted by key, and are joined by nested loop in that order, so that all
batches lock in one order (R11). Every statement that changes a task's state writes its event beside it.
"""

from __future__ import annotations

from neurogrid.queue import usage

XID = "pg_current_xact_id()::text::bigint"
RUNNING = """'{"status":"running","attempt":' || attempt || ',"node":' || to_json(node)::text || '}'"""

# The status in a form that the planner does not recognize: where it does, it walks the partial index of all
# running (or live) tasks on a young table, for every batch, instead of going by key (R11, R13).
STATUS = "(t.status || '')"

# The attempt that a task's end from outside opens. Whoever watches a follower has seen its leader's (R20).
ENDED = "greatest(t.attempt, (SELECT l.attempt FROM tasks l WHERE l.id = t.leader_id)) + 1"

RENEW = """
UPDATE node_sessions s SET lease_until = clock_timestamp() + d.lease * interval '1 second'
FROM unnest($1::uuid[], $2::int[], $3::float8[]) AS d(id, gen, lease)
WHERE s.id = d.id AND s.gen = d.gen
RETURNING s.id::text, s.gen
"""

FENCE = f"t.attempt = d.attempt AND {STATUS} = 'running'"
FINISH = f"""
WITH d AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::text[], $4::int[], $5::text[], $6::bool[], $7::text[], $8::int[],
        $9::bool[], $10::int[], $11::int[], $12::float8[], $13::uuid[], $14::text[]
    ) AS d(id, attempt, status, final_seq, output, output_apart, error, errors, dead_letter,
           prompt_tokens, completion_tokens, compute_seconds, write_id, data)
), upd AS (
    UPDATE tasks t SET
        status = d.status, final_seq = d.final_seq, output = d.output, output_apart = d.output_apart,
        error = d.error, errors = t.errors + d.errors, dead_letter = d.dead_letter,
        prompt_tokens = d.prompt_tokens, completion_tokens = d.completion_tokens,
        compute_seconds = d.compute_seconds, session_id = NULL, write_id = d.write_id,
        finished_at = clock_timestamp()
    FROM d WHERE t.id = d.id AND {FENCE}
    RETURNING t.id, t.owner_id, d.attempt, t.final_seq, t.status, t.node, t.started_at, t.finished_at,
        t.write_id, d.data, t.followed, t.key_id, t.model, t.leader_id, t.prompt_tokens, t.completion_tokens,
        t.compute_seconds, t.at_once IS NOT NULL AND EXISTS (
            SELECT 1 FROM tasks w
            WHERE w.owner_id = t.owner_id AND w.status = 'waiting' AND w.wait_reason = 'concurrency') AS awaited
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, final_seq, owner_id, {XID}, 'task.' || status, finished_at, data FROM upd
), charged AS ({usage.used("upd")}
)
SELECT write_id::text, followed, id::text, owner_id::text, attempt, final_seq, status, node, started_at,
    finished_at, awaited
FROM upd
"""
UNFENCED_FINISH = FINISH.replace(FENCE, "true")
"""For the drill's self-test alone."""

REQUEUE = f"""
WITH d AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::text[], $4::int[], $5::int[], $6::float8[], $7::text[], $8::uuid[],
        $9::int[], $10::uuid[], $11::text[], $12::text[]
    ) AS d(id, attempt, status, errors, losses, delay, error, session_id, gen, write_id, data, guard)
), upd AS (
    UPDATE tasks t SET
        status = d.status, attempt = t.attempt + 1, errors = t.errors + d.errors,
        losses = t.losses + d.losses, dead_letter = d.status = 'failed', session_id = NULL,
        wait_reason = CASE WHEN d.status = 'waiting' THEN 'backoff' END,
        run_at = CASE WHEN d.status = 'waiting' THEN clock_timestamp() + d.delay * interval '1 second' END,
        rank = greatest(t.rank, (
            SELECT c.rank FROM lane_clock c WHERE c.lane = t.lane AND c.class = t.class)),
        error = CASE WHEN d.status = 'failed' THEN d.error END,
        final_seq = CASE WHEN d.status = 'failed' THEN 0 END,
        finished_at = CASE WHEN d.status = 'failed' THEN clock_timestamp() END,
        write_id = d.write_id
    FROM d WHERE t.id = d.id AND t.attempt = d.attempt AND {STATUS} = 'running'
        AND CASE d.guard
            WHEN 'held' THEN t.session_id = d.session_id AND EXISTS (
                SELECT 1 FROM node_sessions s WHERE s.id = d.session_id AND s.gen = d.gen)
            WHEN 'expired' THEN t.session_id = d.session_id AND EXISTS (
                SELECT 1 FROM node_sessions s
                WHERE s.id = d.session_id AND s.gen = d.gen AND s.lease_until < clock_timestamp())
            WHEN 'orphaned' THEN NOT EXISTS (SELECT 1 FROM node_sessions s WHERE s.id = t.session_id)
            ELSE true END
    RETURNING t.id, t.owner_id, t.lane, t.attempt, t.status, t.write_id, d.data, t.followed
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, 0, owner_id, {XID},
           CASE WHEN status = 'failed' THEN 'task.failed' ELSE 'task.retrying' END, clock_timestamp(), data
    FROM upd
    RETURNING task_id, at
)
SELECT write_id::text, followed AND status = 'failed', id::text, owner_id::text, lane, attempt, status, at, data
FROM upd JOIN ev ON task_id = id
"""

EVICT = """
DELETE FROM node_sessions s USING unnest($1::uuid[], $2::int[]) AS d(id, gen)
WHERE s.id = d.id AND s.gen = d.gen AND s.lease_until < clock_timestamp()
    AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.status = 'running' AND t.session_id = s.id)
RETURNING s.id::text, s.gen
"""

CANCEL = f"""
WITH d AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS d(id, owner_id, write_id)
), old AS MATERIALIZED (
    SELECT t.id, t.session_id, d.write_id FROM d JOIN tasks t ON t.id = d.id
    WHERE (d.owner_id IS NULL OR t.owner_id = d.owner_id) AND {STATUS} IN ('queued', 'waiting', 'running')
    ORDER BY t.id FOR UPDATE OF t
), upd AS (
    UPDATE tasks t SET
        status = 'canceled', attempt = {ENDED}, final_seq = 0, session_id = NULL, wait_reason = NULL,
        run_at = NULL, finished_at = clock_timestamp(), write_id = old.write_id
    FROM old WHERE t.id = old.id
    RETURNING t.id, t.owner_id, t.attempt, old.session_id, t.finished_at, t.write_id, t.followed
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, 0, owner_id, {XID}, 'task.canceled', finished_at, $4 FROM upd
)
SELECT write_id::text, followed, id::text, owner_id::text, attempt, session_id::text, finished_at FROM upd
"""

CLAIMED = """id::text, owner_id::text, lane, model, attempt, errors, losses, max_attempts, input, parameters,
       timeout_s, deadline, started_at, session_id::text, class, rank, cost, weight, write_id::text"""

# The classes of a lane are walked in the order given, each from its floor on, until there are rows enough.
# Nothing but the nested loop keeps that order; the session has no other join (R13). Of tasks whose owner may run only
# so many at once it only says which ones they are, without ``started_at`` (``postgres_held``).
CLAIM = f"""
WITH slot AS (
    SELECT u.*, row_number() OVER (PARTITION BY u.lane ORDER BY u.ord) AS k
    FROM unnest($1::text[], $2::uuid[], $3::int[], $4::text[], $5::uuid[]) WITH ORDINALITY
        AS u(lane, session_id, gen, node, write_id, ord)
    JOIN node_sessions s
        ON s.id = u.session_id AND s.gen = u.gen AND s.lease_until > clock_timestamp()
), floors AS MATERIALIZED (
    SELECT * FROM unnest($6::text[], $7::int2[], $8::float8[]) WITH ORDINALITY AS f(lane, class, floor, ord)
), want AS (
    SELECT lane, count(*) AS n FROM slot GROUP BY lane
), picked AS MATERIALIZED (
    SELECT want.lane, t.id, t.class, t.rank, t.at_once, t.owner_id FROM want CROSS JOIN LATERAL (
        SELECT r.id, r.class, r.rank, r.at_once, r.owner_id
        FROM (SELECT class, floor FROM floors WHERE floors.lane = want.lane ORDER BY ord) f
        CROSS JOIN LATERAL (
            SELECT id, class, rank, at_once, owner_id FROM tasks
            WHERE status = 'queued' AND tasks.lane = want.lane AND tasks.class = f.class
                AND tasks.rank >= f.floor
            ORDER BY rank, id LIMIT want.n FOR UPDATE SKIP LOCKED
        ) r LIMIT want.n
    ) t
), numbered AS (
    SELECT lane, id, at_once, owner_id, row_number() OVER (PARTITION BY lane ORDER BY class, rank, id) AS k
    FROM picked
), upd AS (
    UPDATE tasks t SET
        status = 'running', session_id = slot.session_id, node = slot.node, wait_reason = NULL,
        started_at = clock_timestamp(), write_id = slot.write_id
    FROM numbered JOIN slot ON slot.lane = numbered.lane AND slot.k = numbered.k
    WHERE t.id = numbered.id AND numbered.at_once IS NULL
    RETURNING t.*
), ev AS (
    INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data)
    SELECT id, attempt, 1, owner_id, {XID}, 'task.running', started_at,
           {RUNNING}
    FROM upd
)
SELECT {CLAIMED} FROM upd
UNION ALL
SELECT n.id::text, n.owner_id::text, n.lane, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, slot.write_id::text
FROM numbered n JOIN slot ON slot.lane = n.lane AND slot.k = n.k WHERE n.at_once IS NOT NULL
"""

CLAIMED_BEFORE = f"""
SELECT {CLAIMED}
FROM tasks JOIN unnest($1::uuid[], $2::uuid[]) AS d(session_id, write_id) USING (session_id, write_id)
WHERE status = 'running'
"""

FINISHED_BEFORE = """
SELECT write_id::text, followed, id::text, owner_id::text, attempt, final_seq, status, node, started_at,
    finished_at, false AS awaited
FROM tasks JOIN unnest($1::uuid[], $2::uuid[]) AS d(i, w) ON id = i AND write_id = w
"""

MOVED_BEFORE = """
SELECT t.write_id::text, t.followed AND t.final_seq IS NOT NULL, t.id::text, t.owner_id::text, t.lane, t.attempt,
    t.status, e.at, e.data
FROM unnest($1::uuid[], $2::uuid[]) AS d(i, w)
JOIN tasks t ON t.id = i AND t.write_id = w
JOIN task_events e ON e.task_id = t.id AND e.attempt = t.attempt AND e.seq = 0
"""
