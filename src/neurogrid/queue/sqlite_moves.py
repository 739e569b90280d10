"""SQLite's statements for what happens to a task from outside its attempts: deadline, bill, replay."""

from __future__ import annotations

from neurogrid.queue import eventdata
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
    AND completion_tokens = 0 AND compute_seconds = 0
RETURNING id
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


class Moves(Inheritance, Holding):
    """The part of a transaction that carries out ``Expire``, ``Bill`` and ``Replay``."""

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
        usage = op.usage
        figures = (usage.prompt_tokens, usage.completion_tokens, usage.compute_seconds)
        return self._one(BILL, op.task, op.attempt, *figures) is not None or None

    def _replay(self, op: Replay) -> Answer:
        row = self._one(REPLAY, op.task, op.owner, self._at, op.write_id)
        if row is None:
            return None
        lane, attempt = row
        self._event(op.task, attempt, 0, op.owner, "task.retrying", eventdata.REPLAYED)
        return Requeued(op.task, op.owner, lane, attempt, Status.QUEUED, self._now, eventdata.REPLAYED)
