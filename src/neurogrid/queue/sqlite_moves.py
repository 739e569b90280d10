"""SQLite's statements for what happens to a task from outside its attempts: deadline, bill, replay."""

from __future__ import annotations

from typing import cast

from neurogrid.queue import eventdata, usage
from neurogrid.queue.answers import Answer, Expired, Requeued
from neurogrid.queue.ops import Bill, Expire, Replay
from neurogrid.queue.policy import Status
from neurogrid.queue.sqlite_heirs import Inheritance
from neurogrid.queue.sqlite_held import Holding
from neurogrid.queue.sqlite_statements import ENDED

OVERDUE = """
SELECT session_id FROM tasks
WHERE id = ?1 AND status IN ('queued', 'waiting', 'running') AND deadline <= ?2
"""
EXPIRE = f"""
UPDATE tasks SET status = 'failed', attempt = {ENDED}, final_seq = 0, session_id = NULL,
    wait_reason = NULL, run_at = NULL, error = ?2, finished_at = ?3, write_id = ?4
WHERE id = ?1 RETURNING owner_id, attempt, followed
"""
BILL = """
UPDATE tasks SET prompt_tokens = ?3, completion_tokens = ?4, compute_seconds = ?5
WHERE id = ?1 AND attempt = ?2 AND status IN ('canceled', 'failed') AND final_seq = 0
    AND leader_id IS NULL AND prompt_tokens = 0 AND completion_tokens = 0 AND compute_seconds = 0
RETURNING owner_id, key_id, model, finished_at
"""
OLD = """
SELECT owner_id, key_id, model, finished_at, prompt_tokens, completion_tokens, compute_seconds FROM tasks
WHERE id = ?1 AND owner_id = ?2 AND status IN ('failed', 'canceled') AND leader_id IS NULL
"""
# Ranked as if it were submitted now (R16, R17). A deadline that has passed was that of the former life.
REPLAY = """
UPDATE tasks SET status = 'queued', attempt = attempt + 1, errors = 0, losses = 0, dead_letter = false,
    output = NULL, output_apart = false, error = NULL, final_seq = NULL, leader_id = NULL,
    followed = false, prompt_tokens = 0,
    completion_tokens = 0, compute_seconds = 0, started_at = NULL, finished_at = NULL,
    deadline = CASE WHEN deadline > ?3 THEN deadline END, write_id = ?4,
    rank = cost / weight + max(
        coalesce((SELECT c.rank FROM lane_clock c WHERE c.lane = tasks.lane AND c.class = tasks.class), 0),
        coalesce((SELECT max(t.rank) FROM tasks t
            WHERE t.owner_id = tasks.owner_id AND t.lane = tasks.lane AND t.class = tasks.class
                AND t.status IN ('queued', 'waiting', 'running')), 0))
WHERE id = ?1 AND owner_id = ?2 AND status IN ('failed', 'canceled')
RETURNING lane, attempt
"""

CHARGE = usage.sqlite_insert("usage_deltas")
KEEP = usage.sqlite_insert("usage_archive")


class Moves(Inheritance, Holding):
    """The part of a transaction that carries out ``Expire``, ``Bill`` and ``Replay``, and charges what was used."""

    _charges: dict[usage.Place, usage.Figures]

    def _charge(self, place: usage.Place, *figures: int) -> None:
        """Charge requests, prompt tokens, completion tokens and microseconds, as many of them as are given."""
        before = self._charges.get(place, (0, 0, 0, 0))
        requests, prompt, completion, compute = (*figures, 0, 0, 0)[:4]
        self._charges[place] = (
            before[0] + requests,
            before[1] + prompt,
            before[2] + completion,
            before[3] + compute,
        )

    def _write_charges(self) -> None:
        for (user, key, model, moment), figures in self._charges.items():
            self._execute(CHARGE, (user, key or usage.NO_KEY, model, moment, *figures))

    def _expire(self, op: Expire) -> Answer:
        overdue = self._one(OVERDUE, op.task, self._at)
        if overdue is None:
            return None
        ((owner, attempt, followed),) = self._execute(
            EXPIRE, (op.task, eventdata.DEADLINE_EXCEEDED, self._at, op.write_id)
        )
        self._event(op.task, attempt, 0, owner, "task.failed", eventdata.EXPIRED)
        heirs = self._settle(op.task, followed=followed)
        return Expired(op.task, owner, attempt, overdue[0], self._now, heirs)

    def _bill(self, op: Bill) -> Answer:
        used = op.usage
        figures = (used.prompt_tokens, used.completion_tokens, used.compute_seconds)
        place = self._one(BILL, op.task, op.attempt, *figures)
        if place is None:
            return None
        self._charge(cast("usage.Place", place), *usage.of(used))
        return True

    def _replay(self, op: Replay) -> Answer:
        old = self._one(OLD, op.task, op.owner)
        row = self._one(REPLAY, op.task, op.owner, self._at, op.write_id)
        if row is None:
            return None
        lane, attempt = row
        if old is not None:
            user, key, model, finished_at, prompt, completion, seconds = old
            figures = (0, prompt, completion, usage.microseconds(seconds))
            self._execute(KEEP, (user, key or usage.NO_KEY, model, finished_at, *figures))
        self._event(op.task, attempt, 0, op.owner, "task.retrying", eventdata.REPLAYED)
        return Requeued(op.task, op.owner, lane, attempt, Status.QUEUED, self._now, eventdata.REPLAYED)
