"""SQLite's statements for owners who may run only so many tasks at once (LIM-3), with the meaning of ``postgres_held``.

There is one writer, so whoever looks is alone.
"""

from __future__ import annotations

import sqlite3
from abc import ABC
from collections.abc import Callable
from typing import Any, Final

from neurogrid.queue.answers import Admitted, Answer
from neurogrid.queue.ops import Admit

AT_ONCE: Final = 64
"""Tasks of an owner, lane and class that one claim sets apart."""

_WAITS = "status = 'waiting' AND wait_reason = 'concurrency'"
RUNNING = "SELECT count(*) FROM tasks WHERE owner_id = ? AND status = 'running' AND at_once IS NOT NULL"
HELD = f"SELECT EXISTS (SELECT 1 FROM tasks WHERE owner_id = ? AND {_WAITS})"
HOLD = """
UPDATE tasks SET status = 'waiting', wait_reason = 'concurrency' WHERE id IN (
    SELECT id FROM tasks
    WHERE status = 'queued' AND owner_id = ?1 AND lane = ?2 AND class = ?3 AND rank >= ?4 AND at_once IS NOT NULL
    ORDER BY rank LIMIT ?5)
"""
LANE = f"SELECT min(lane) FROM tasks WHERE owner_id = ?1 AND {_WAITS} AND lane > ?2"
PLACES = f"""
SELECT (SELECT at_once FROM tasks WHERE owner_id = ?1 AND {_WAITS} AND lane = ?2 ORDER BY class, rank, id LIMIT 1)
    - (SELECT count(*) FROM tasks
       WHERE owner_id = ?1 AND lane = ?2 AND status = 'queued' AND wait_reason = 'concurrency')
"""
ADMIT = f"""
UPDATE tasks SET status = 'queued', rank = max(rank, coalesce((
        SELECT c.rank FROM lane_clock c WHERE c.lane = tasks.lane AND c.class = tasks.class), rank))
WHERE id IN (
    SELECT id FROM tasks WHERE owner_id = ?1 AND {_WAITS} AND lane = ?2 ORDER BY class, rank, id LIMIT ?3)
"""


class Holding(ABC):
    """The part of a transaction that bounds what an owner runs at once."""

    _execute: Callable[..., sqlite3.Cursor]

    def _value(self, statement: str, *parameters: Any) -> Any:
        ((value,),) = self._execute(statement, parameters).fetchall()
        return value

    def _may_begin(self, owner: str, at_once: int | None, *, admitted: bool = False) -> bool:
        """Tell whether an owner's task may begin now; one that was ``admitted`` need not wait behind those held."""
        if at_once is None:
            return True
        if self._value(RUNNING, owner) >= at_once:
            return False
        return admitted or not self._value(HELD, owner)

    def _hold(self, owner: str, lane: str, class_: int, rank: float) -> None:
        """Set apart what an owner has queued from a rank on, and let in again what may run."""
        self._execute(HOLD, (owner, lane, class_, rank, AT_ONCE))
        self._let_in(owner)

    def _let_in(self, owner: str) -> Admitted:
        lanes, lane = [], self._value(LANE, owner, "")
        while lane is not None:
            places = self._value(PLACES, owner, lane) - self._value(RUNNING, owner)
            if places > 0:
                self._execute(ADMIT, (owner, lane, places))
                lanes.append(lane)
            lane = self._value(LANE, owner, lane)
        return Admitted(tuple(lanes))

    def _admit(self, op: Admit) -> Answer:
        return self._let_in(op.owner)

    def _admitted(self, owner: str, at_once: int | None) -> Admitted:
        """Return what may run now that a task of ``owner`` is over."""
        if at_once is None or not self._value(HELD, owner):
            return Admitted()
        return self._let_in(owner)
