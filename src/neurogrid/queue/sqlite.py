"""The journal's writer on SQLite: one connection in one thread, one transaction per batch (R14)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from neurogrid.core.db import SQLITE_PRAGMAS, from_sqlite_time, to_sqlite_time
from neurogrid.core.ids import now
from neurogrid.queue import eventdata, usage
from neurogrid.queue import sqlite_statements as sql
from neurogrid.queue.answers import Answer, Canceled, Claimed, Duplicate, Finished, Inserted, Requeued
from neurogrid.queue.ops import Batch, Cancel, Evict, Finish, Insert, Renew, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.sqlite_moves import Moves
from neurogrid.queue.writer import ConnectionLost, RowRejected, Transient

CLAIM_ROUNDS = 256
"""How often one claim goes on when what it met may not run now."""
KEY_SECONDS = 24 * 3600.0
REJECTED = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    UnicodeEncodeError,
    OverflowError,
)
"""What a value is answered with that no column takes."""


class SqliteWriter:
    """One writing connection; ``turn`` is the lock it shares with the process' other writers."""

    def __init__(self, path: str, turn: AbstractAsyncContextManager[None]) -> None:
        """Prepare to write to the file ``path``."""
        self._path = path
        self._turn = turn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._connection: sqlite3.Connection | None = None
        self._xid = 0

    async def connect(self) -> None:
        """(Re)open the file. Raises ``ConnectionLost``."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except sqlite3.Error as error:
            raise ConnectionLost(str(error)) from error

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)

    async def write(self, batch: Batch, *, repeat: bool) -> Sequence[Sequence[Answer]]:
        """Commit ``batch``; see ``Writer.write``. A local commit has no unknown outcome."""
        del repeat
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, batch)

    def _open(self) -> None:
        self._shut()
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma)
        last = connection.execute("SELECT xid FROM task_events ORDER BY rowid DESC LIMIT 1").fetchone()
        # Transactions are numbered by the clock's microseconds: the newest event may have been deleted, and
        # a number must not be given twice (R25).
        self._xid = max(last[0] if last else 0, time.time_ns() // 1000)
        self._connection = connection

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _commit(self, batch: Batch) -> Sequence[Sequence[Answer]]:
        connection = self._connection
        if connection is None:
            msg = "not connected"
            raise ConnectionLost(msg)
        try:
            connection.execute("BEGIN IMMEDIATE")
            answers = _Transaction(connection, self._xid + 1).run(batch)
            connection.execute("COMMIT")
        except REJECTED as error:
            _roll_back(connection)
            raise RowRejected(str(error)) from error
        except sqlite3.OperationalError as error:
            _roll_back(connection)
            raise Transient(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise ConnectionLost(str(error)) from error
        except BaseException:
            _roll_back(connection)
            raise
        self._xid += 1
        return answers


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class _Transaction(Moves):
    """The rows of one batch, one after the other; all share one moment and one transaction number."""

    def __init__(self, connection: sqlite3.Connection, xid: int) -> None:
        self._execute = connection.execute
        self._xid = xid
        self._now = now()
        self._at = to_sqlite_time(self._now)
        self._charges = {}

    def run(self, batch: Batch) -> Sequence[Sequence[Answer]]:
        answers = (
            [self._renew(op) for op in batch.renews],
            [self._finish(op) for op in batch.finishes],
            [self._requeue(op) for op in batch.requeues],
            [self._evict(op) for op in batch.evicts],
            [self._cancel(op) for op in batch.cancels],
            [self._expire(op) for op in batch.expires],
            [self._settle(op.leader, followed=True) for op in batch.settles],
            [self._admit(op) for op in batch.admits],
            [self._bill(op) for op in batch.bills],
            [self._replay(op) for op in batch.replays],
            [self._claim(op) for op in batch.wants],
            [self._insert(op) for op in batch.inserts],
        )
        self._write_charges()
        return answers

    def _later(self, seconds: float) -> str:
        return to_sqlite_time(self._now + timedelta(seconds=seconds))

    def _event(self, task: str, attempt: int, seq: int, owner: str, type: str, data: str) -> None:
        self._execute(sql.EVENT, (task, attempt, seq, owner, self._xid, type, self._at, data))

    def _renew(self, op: Renew) -> Answer:
        parameters = (self._later(op.lease), op.session.id, op.session.gen)
        return self._execute(sql.RENEW, parameters).rowcount == 1 or None

    def _finish(self, op: Finish) -> Answer:
        used = op.usage
        row = self._one(
            sql.FINISH,
            op.status.value, op.final_seq, op.output, op.output_apart, op.error,
            op.charge is Charge.ERROR, op.dead_letter, used.prompt_tokens, used.completion_tokens,
            used.compute_seconds, op.write_id, self._at, op.task, op.attempt,
        )  # fmt: skip
        if row is None:
            return None
        owner, node, started_at, followed, at_once, key, model = row
        self._charge((owner, key, model, self._at), *usage.of(used))
        data = eventdata.finished(op)
        self._event(op.task, op.attempt, op.final_seq, owner, f"task.{op.status.value}", data)
        started = from_sqlite_time(started_at)
        heirs = self._settle(op.task, followed=followed)
        return Finished(
            op.task, owner, op.attempt, op.final_seq, op.status, node, started, self._now, heirs,
            self._admitted(owner, at_once),
        )  # fmt: skip

    def _requeue(self, op: Requeue) -> Answer:
        session = op.session
        row = self._one(
            sql.REQUEUE,
            op.status.value, op.charge is Charge.ERROR, op.charge is Charge.LOSS, self._later(op.delay),
            op.error, self._at, op.write_id, op.task, op.attempt, session and session.id,
            session and session.gen, op.guard and op.guard.value,
        )  # fmt: skip
        if row is None:
            return None
        owner, lane, attempt, followed = row
        data = eventdata.requeued(op)
        type_ = "task.failed" if op.status is Status.FAILED else "task.retrying"
        self._event(op.task, attempt, 0, owner, type_, data)
        heirs = self._settle(op.task, followed=followed and op.status is Status.FAILED)
        return Requeued(op.task, owner, lane, attempt, op.status, self._now, data, heirs)

    def _evict(self, op: Evict) -> Answer:
        return self._execute(sql.EVICT, (op.session.id, op.session.gen, self._at)).rowcount == 1 or None

    def _cancel(self, op: Cancel) -> Answer:
        before = self._one(sql.CANCELABLE, op.task, op.owner)
        if before is None:
            return None
        ((owner, attempt, followed),) = self._execute(sql.CANCEL, (op.task, self._at, op.write_id)).fetchall()
        self._event(op.task, attempt, 0, owner, "task.canceled", eventdata.CANCELED)
        heirs = self._settle(op.task, followed=followed)
        return Canceled(op.task, owner, attempt, before[0], self._now, heirs)

    def _claim(self, op: Want) -> Answer:
        session = op.session
        task = self._next(op)
        row = task and self._one(
            sql.CLAIM, task, session.id, session.node, self._at, op.write_id, session.gen
        )
        if not row:
            return None
        task, owner, lane, model, attempt, errors, losses, max_attempts, input_, parameters, timeout_s, \
            deadline, _, held_by, *order = row  # fmt: skip
        self._event(task, attempt, 1, owner, "task.running", eventdata.running(attempt, session.node))
        return Claimed(
            task, owner, lane, model, attempt, errors, losses, max_attempts, input_, parameters, timeout_s,
            from_sqlite_time(deadline) if deadline else None, self._now, held_by, *order,
        )  # fmt: skip

    def _next(self, op: Want) -> str | None:
        """Return the next task of a lane that may run; on the way, set those apart that may not (LIM-3)."""
        for _ in range(CLAIM_ROUNDS):
            row = self._one(sql.FIRST_AGED if op.aged else sql.FIRST, op.lane)
            if row is None:
                break
            task, owner, lane, class_, rank, at_once, admitted = row
            if self._may_begin(owner, at_once, admitted=bool(admitted)):
                return str(task)
            self._hold(owner, lane, class_, rank)
        return None

    def _insert(self, op: Insert) -> Answer:
        if op.once is not None:
            expires = self._later(KEY_SECONDS)
            new = (op.owner, op.once.key, op.once.body_hash, op.id, expires, self._at)
            if self._one(sql.KEY, *new) is None:
                return Duplicate(*self._execute(sql.KNOWN_KEY, (op.owner, op.once.key)).fetchone())
        last = self._one(sql.LAST, op.owner, op.lane, op.priority)
        rank = max(op.present, (last and last[0]) or 0.0)
        leader = self._lead(op, rank + op.cost / op.weight) if op.deterministic else None
        session = op.session
        fast = (
            session is not None
            and leader is None
            and bool(
                self._one(sql.FAST, op.lane, session.id, session.gen, self._at)[0]  # type: ignore[index]
            )
            and self._may_begin(op.owner, op.at_once)
        )
        status = Status.WAITING if leader else Status.RUNNING if fast else Status.QUEUED
        holder = session if fast else None
        if leader is None:  # followers take no place in the order of service, and are charged nothing
            rank += op.cost / op.weight
        self._execute(
            sql.INSERT,
            (
                op.id, op.owner, op.key_id, status.value, op.lane, op.model, op.model_version, op.priority,
                rank, op.cost, op.weight, op.at_once, op.input, op.parameters, op.requires, op.metadata,
                op.input_hash, op.deterministic, op.on_disconnect, op.timeout_s,
                op.deadline and to_sqlite_time(op.deadline), op.max_attempts, holder and holder.id,
                holder and holder.node, op.write_id, leader and "leader", leader, self._at,
                holder and self._at,
            ),
        )  # fmt: skip
        self._charge((op.owner, op.key_id, op.model, self._at), 1)
        self._event(op.id, 0, 1, op.owner, "task.queued", eventdata.queued(op))
        if holder is not None:
            self._event(op.id, 1, 1, op.owner, "task.running", eventdata.running(1, holder.node))
        return Inserted(op.id, status, self._now, rank)

    def _lead(self, op: Insert, rank: float) -> str | None:
        """Return the live task whose execution ``op`` is to share, served where the better-placed of both would be."""
        leader = self._one(sql.LEADER, op.owner, op.input_hash)
        if leader is None:
            return None
        self._execute(sql.LIFT, (leader[0], op.priority, rank))
        return str(leader[0])

    def _one(self, statement: str, *parameters: Any) -> tuple[Any, ...] | None:
        # RETURNING needs every row fetched before the statement counts as finished.
        rows = self._execute(statement, parameters).fetchall()
        return rows[0] if rows else None
