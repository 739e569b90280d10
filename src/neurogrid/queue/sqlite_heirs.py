"""SQLite's statements for what a leader leaves to its followers (R20), with the meaning of ``postgres_heirs``."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any

from neurogrid.core.db import from_sqlite_time
from neurogrid.queue import eventdata
from neurogrid.queue.answers import Finished, Heirs, Requeued
from neurogrid.queue.policy import Status

# What is true of the work itself and not of this one task: its output, or an error of the model that is final.
RESULT = "(l.status = 'completed' OR l.status = 'failed' AND NOT l.dead_letter AND l.final_seq > 0)"
SHARE_RESULT = f"""
UPDATE tasks SET
    status = l.status, attempt = l.attempt, final_seq = l.final_seq, wait_reason = NULL, node = l.node,
    output = l.output, output_apart = l.output_apart, error = l.error, prompt_tokens = l.prompt_tokens,
    completion_tokens = l.completion_tokens, compute_seconds = l.compute_seconds,
    started_at = max(l.started_at, tasks.created_at), finished_at = ?2
FROM tasks l
WHERE l.id = ?1 AND tasks.leader_id = l.id AND tasks.status = 'waiting' AND {RESULT}
RETURNING id, owner_id, attempt, final_seq, status, node, started_at
"""
RESULT_EVENT = "SELECT type, data FROM task_events WHERE task_id = ? AND attempt = ? AND seq = ?"
NEXT = f"""
SELECT min(f.id), min(f.class), count(*) > 1, l.attempt + (l.final_seq > 0)
FROM tasks l JOIN tasks f ON f.leader_id = l.id AND f.status = 'waiting'
WHERE l.id = ?1 AND l.status IN ('failed', 'canceled') AND NOT {RESULT}
"""
LEAD = """
UPDATE tasks SET
    status = 'queued', wait_reason = NULL, leader_id = NULL, followed = ?3, class = ?2,
    attempt = max(?4, attempt + 1),
    rank = cost / weight + max(rank, coalesce((
        SELECT c.rank FROM lane_clock c WHERE c.lane = tasks.lane AND c.class = ?2), rank))
WHERE id = ?1 RETURNING owner_id, lane, attempt
"""
FOLLOW = "UPDATE tasks SET leader_id = ?2 WHERE leader_id = ?1 AND status = 'waiting'"


class Inheritance(ABC):
    """The part of a transaction that settles what a leader's end means to its followers."""

    _execute: Callable[..., sqlite3.Cursor]
    _now: datetime
    _at: str

    @abstractmethod
    def _one(self, statement: str, *parameters: Any) -> tuple[Any, ...] | None:
        """Execute a statement and return its first row."""

    @abstractmethod
    def _event(self, task: str, attempt: int, seq: int, owner: str, type: str, data: str) -> None:
        """Write a state event."""

    def _settle(self, leader: str, *, followed: bool) -> Heirs:
        if not followed:
            return Heirs()
        return Heirs(self._share_result(leader), self._hand_over(leader))

    def _share_result(self, leader: str) -> tuple[Finished, ...]:
        finished = []
        for task, owner, attempt, seq, status, node, started_at in self._execute(
            SHARE_RESULT, (leader, self._at)
        ).fetchall():
            kind, data = self._execute(RESULT_EVENT, (leader, attempt, seq)).fetchone()
            self._event(task, attempt, seq, owner, kind, data)
            started = from_sqlite_time(started_at)
            finished.append(Finished(task, owner, attempt, seq, Status(status), node, started, self._now))
        return tuple(finished)

    def _hand_over(self, leader: str) -> Requeued | None:
        heir, class_, followed, attempt = self._execute(NEXT, (leader,)).fetchone()
        if heir is None:
            return None
        ((owner, lane, attempt),) = self._execute(LEAD, (heir, class_, followed, attempt)).fetchall()
        self._execute(FOLLOW, (leader, heir))
        self._event(heir, attempt, 0, owner, "task.retrying", eventdata.INHERITED)
        return Requeued(heir, owner, lane, attempt, Status.QUEUED, self._now, eventdata.INHERITED)
