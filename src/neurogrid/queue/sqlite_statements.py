"""The journal's statements for SQLite: one row each, with the meaning of those in ``statements``."""

from __future__ import annotations

EVENT = (
    "INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data) VALUES (?,?,?,?,?,?,?,?)"
)
RENEW = "UPDATE node_sessions SET lease_until = ? WHERE id = ? AND gen = ?"
FINISH = """
UPDATE tasks SET status = ?, final_seq = ?, output = ?, output_apart = ?, error = ?, errors = errors + ?,
    dead_letter = ?, prompt_tokens = ?, completion_tokens = ?, compute_seconds = ?, session_id = NULL,
    write_id = ?, finished_at = ?
WHERE id = ? AND attempt = ? AND status = 'running'
RETURNING owner_id, node, started_at, followed, at_once, key_id, model
"""
REQUEUE = """
UPDATE tasks SET status = ?1, attempt = attempt + 1, errors = errors + ?2, losses = losses + ?3,
    dead_letter = ?1 = 'failed', session_id = NULL,
    rank = max(rank, coalesce((
        SELECT c.rank FROM lane_clock c WHERE c.lane = tasks.lane AND c.class = tasks.class), rank)),
    wait_reason = CASE ?1 WHEN 'waiting' THEN 'backoff' END, run_at = CASE ?1 WHEN 'waiting' THEN ?4 END,
    error = CASE ?1 WHEN 'failed' THEN ?5 END, final_seq = CASE ?1 WHEN 'failed' THEN 0 END,
    finished_at = CASE ?1 WHEN 'failed' THEN ?6 END, write_id = ?7
WHERE id = ?8 AND attempt = ?9 AND status = 'running' AND CASE ?12
    WHEN 'held' THEN session_id = ?10 AND EXISTS (SELECT 1 FROM node_sessions WHERE id = ?10 AND gen = ?11)
    WHEN 'expired' THEN session_id = ?10 AND EXISTS (
        SELECT 1 FROM node_sessions WHERE id = ?10 AND gen = ?11 AND lease_until < ?6)
    WHEN 'orphaned' THEN NOT EXISTS (SELECT 1 FROM node_sessions WHERE id = session_id)
    ELSE true END
RETURNING owner_id, lane, attempt, followed
"""
EVICT = """
DELETE FROM node_sessions WHERE id = ?1 AND gen = ?2 AND lease_until < ?3
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND session_id = ?1)
"""
# The attempt that a task's end from outside opens. Whoever watches a follower has seen its leader's (R20).
ENDED = (
    """max(tasks.attempt, coalesce((SELECT l.attempt FROM tasks l WHERE l.id = tasks.leader_id), 0)) + 1"""
)
CANCEL = f"""
UPDATE tasks SET status = 'canceled', attempt = {ENDED}, final_seq = 0, session_id = NULL,
    wait_reason = NULL, run_at = NULL, finished_at = ?2, write_id = ?3
WHERE id = ?1 RETURNING owner_id, attempt, followed
"""
CANCELABLE = """
SELECT session_id FROM tasks
WHERE id = ?1 AND (?2 IS NULL OR owner_id = ?2) AND status IN ('queued', 'waiting', 'running')
"""
# The index gives the order; an order that it does not have would sort the whole queue for every claim.
_FIRST = """
SELECT id, owner_id, lane, class, rank, at_once, wait_reason = 'concurrency' FROM tasks
WHERE status = 'queued' AND lane = ?1 {first} LIMIT 1
"""
_BY_RANK = "ORDER BY class, rank, id"
_BY_AGE = """AND class = (SELECT max(class) FROM tasks WHERE status = 'queued' AND lane = ?1)
    ORDER BY rank, id"""
FIRST = _FIRST.format(first=_BY_RANK)
FIRST_AGED = _FIRST.format(first=_BY_AGE)
CLAIM = """
UPDATE tasks SET status = 'running', session_id = ?2, node = ?3, wait_reason = NULL, started_at = ?4,
    write_id = ?5
WHERE id = ?1
    AND EXISTS (SELECT 1 FROM node_sessions WHERE id = ?2 AND gen = ?6 AND lease_until > ?4)
RETURNING id, owner_id, lane, model, attempt, errors, losses, max_attempts, input, parameters, timeout_s,
    deadline, started_at, session_id, class, rank, cost, weight
"""
LAST = """
SELECT max(
    coalesce((SELECT max(rank) FROM tasks
        WHERE owner_id = ?1 AND lane = ?2 AND class = ?3 AND status IN ('queued', 'waiting', 'running')), 0),
    coalesce((SELECT rank FROM lane_clock WHERE lane = ?2 AND class = ?3), 0))
"""
FAST = """
SELECT NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'queued' AND lane = ?1)
    AND EXISTS (SELECT 1 FROM node_sessions WHERE id = ?2 AND gen = ?3 AND lease_until > ?4)
"""
# One that waits for its own time or for other tasks is no leader: it may be long in coming.
LEADER = """
SELECT id FROM tasks
WHERE owner_id = ?1 AND input_hash = ?2 AND deterministic AND leader_id IS NULL
    AND status IN ('queued', 'waiting', 'running') AND (status <> 'waiting' OR wait_reason IN ('backoff', 'concurrency'))
ORDER BY id LIMIT 1
"""
LIFT = """
UPDATE tasks SET followed = true,
    class = CASE WHEN status <> 'running' AND (?2, ?3) < (class, rank) THEN ?2 ELSE class END,
    rank = CASE WHEN status <> 'running' AND (?2, ?3) < (class, rank) THEN ?3 ELSE rank END
WHERE id = ?1
"""
KEY = """
INSERT INTO idempotency_keys (owner_id, key, body_hash, task_id, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (owner_id, key) DO UPDATE SET
    body_hash = excluded.body_hash, task_id = excluded.task_id, expires_at = excluded.expires_at
WHERE expires_at < ?6
RETURNING task_id
"""
KNOWN_KEY = "SELECT task_id, body_hash FROM idempotency_keys WHERE owner_id = ? AND key = ?"
INSERT = """
INSERT INTO tasks (
    id, owner_id, key_id, status, lane, model, model_version, class, rank, cost, weight, at_once, input, parameters, requires,
    metadata, input_hash, deterministic, cached, on_disconnect, timeout_s, deadline, max_attempts, attempt,
    errors, losses, dead_letter, session_id, node, write_id, wait_reason, leader_id, followed, output_apart,
    prompt_tokens, completion_tokens, compute_seconds, created_at, started_at)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,?,?,?,?,1,0,0,0,?,?,?,?,?,0,0,0,0,0,?,?)
"""
