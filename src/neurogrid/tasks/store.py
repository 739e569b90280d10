"""Reads of tasks and their events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, cast, delete, func, literal_column, select, tuple_
from sqlalchemy.orm import aliased

from neurogrid.core.db import Database
from neurogrid.core.ids import now
from neurogrid.core.prepared import Prepared, Row
from neurogrid.protocol.events import EventId
from neurogrid.queue.answers import Duplicate
from neurogrid.queue.charged import CHARGED, archived
from neurogrid.queue.policy import FINAL
from neurogrid.queue.tables import IdempotencyKey, Task, TaskEvent, TaskOutput

_SUMMARY = (
    Task.id, Task.status, Task.model, Task.parameters, Task.error, Task.prompt_tokens,
    Task.completion_tokens, Task.compute_seconds, Task.cached, Task.class_, Task.requires, Task.wait_reason,
    Task.attempt, Task.errors, Task.max_attempts, Task.timeout_s, Task.deadline, Task.on_disconnect,
    Task.dead_letter, Task.node,
    Task.metadata_, Task.workflow_id, Task.batch_id, Task.created_at, Task.started_at, Task.finished_at,
)  # fmt: skip
_OUTPUT = func.coalesce(Task.output, TaskOutput.output).label("output")
# Who shared the execution of a task shares its output (R20).
_APART = (TaskOutput.task_id == func.coalesce(Task.leader_id, Task.id)) & (TaskOutput.attempt == Task.attempt)
_INTEGER = 2**31 - 1
_FINAL = tuple(status.value for status in FINAL)
_EVENT = (TaskEvent.attempt, TaskEvent.seq, TaskEvent.type, TaskEvent.at, TaskEvent.data)


def _with_output(*columns: Any) -> Select[Any]:
    return select(*columns, _OUTPUT).outerjoin(TaskOutput, _APART)


_MINE = (Task.id == bindparam("task"), Task.owner_id == bindparam("owner"))
GET = Prepared(_with_output(*_SUMMARY, Task.input).where(*_MINE))
STATUS = Prepared(select(Task.status).where(*_MINE))
_WAITING = Task.status == literal_column("'waiting'")
LEADER = Prepared(select(Task.leader_id).where(Task.id == bindparam("task"), _WAITING))
OWNER = Prepared(select(Task.owner_id).where(Task.id == bindparam("task")))
FINAL_ROW = Prepared(
    _with_output(Task.attempt, Task.final_seq, Task.output_apart, Task.started_at, Task.finished_at).where(
        Task.id == bindparam("task"), Task.final_seq.is_not(None)
    )
)
EVENTS = Prepared(
    select(*_EVENT)
    .where(
        TaskEvent.task_id == bindparam("task"),
        tuple_(TaskEvent.attempt, TaskEvent.seq) > tuple_(bindparam("attempt"), bindparam("seq")),
    )
    .order_by(TaskEvent.attempt, TaskEvent.seq)
)


class TaskStore:
    """Queries of the tasks feature; changes of state are the journal's."""

    def __init__(self, database: Database) -> None:
        """Read from ``database``."""
        self._database = database

    async def get(self, task: str, owner: str) -> Row | None:
        """Return a task of ``owner``, whole."""
        return await self._database.read_one(GET, task=task, owner=owner)

    async def several(self, tasks: Sequence[str], owner: str) -> list[Row]:
        """Return those of ``tasks`` that are ``owner``'s and exist, whole, in any order."""
        query = _with_output(*_SUMMARY, Task.input).where(Task.id.in_(tasks), Task.owner_id == owner)
        return await self._database.all(query) if tasks else []

    async def page(
        self,
        owner: str,
        *,
        statuses: Sequence[str],
        model: str | None,
        created_after: datetime | None,
        created_before: datetime | None,
        dead_letters: bool,
        before: str | None,
        limit: int,
    ) -> list[Row]:
        """Return up to ``limit`` tasks of ``owner``, newest first, beginning after the id ``before``."""
        query = select(*_SUMMARY).where(Task.owner_id == owner)
        if statuses:
            query = query.where(Task.status.in_(statuses))
        if model is not None:
            query = query.where(Task.model == model)
        if created_after is not None:
            query = query.where(Task.created_at >= created_after)
        if created_before is not None:
            query = query.where(Task.created_at < created_before)
        if dead_letters:
            query = query.where(Task.dead_letter)
        if before is not None:
            query = query.where(Task.id < before)
        return await self._database.all(query.order_by(Task.id.desc()).limit(limit))

    async def explained(self, task: str, owner: str) -> Row | None:
        """Return what explains a task of ``owner``: its place in the queue and what it used."""
        return await self._database.first(
            select(
                *_SUMMARY,
                Task.owner_id,
                Task.lane,
                Task.rank,
                Task.cost,
                Task.weight,
                Task.at_once,
                Task.run_at,
                Task.leader_id,
            ).where(Task.id == task, Task.owner_id == owner)
        )

    async def dead_letters(self, owner: str, model: str | None, limit: int) -> list[str]:
        """Return the ids of up to ``limit`` dead letters of ``owner``, oldest first."""
        query = select(Task.id).where(Task.owner_id == owner, Task.dead_letter)
        if model is not None:
            query = query.where(Task.model == model)
        return [row["id"] for row in await self._database.all(query.order_by(Task.id).limit(limit))]

    async def statuses(self, owner: str, tasks: Sequence[str]) -> dict[str, str]:
        """Return the status of those of ``tasks`` that are ``owner``'s."""
        rows = await self._database.all(
            select(Task.id, Task.status).where(Task.id.in_(tasks), Task.owner_id == owner)
        )
        return {row["id"]: row["status"] for row in rows}

    async def work_of(self, owner: str, tasks: Sequence[str]) -> dict[str, Row]:
        """Return of those of ``tasks`` that are ``owner``'s their status, and what says how much work they are.

        That is ``model``, ``parameters`` and ``input_size``, the length of the input as JSON.
        """
        size = func.length(Task.input).label("input_size")
        rows = await self._database.all(
            select(Task.id, Task.status, Task.model, Task.parameters, size).where(
                Task.id.in_(tasks), Task.owner_id == owner
            )
        )
        return {row["id"]: row for row in rows}

    async def cancels_on_disconnect(self, task: str) -> str | None:
        """Return the owner of a task that is not over and shall not outlive its client."""
        row = await self._database.first(
            select(Task.owner_id).where(
                Task.id == task, Task.on_disconnect == "cancel", Task.status.not_in(_FINAL)
            )
        )
        return row["owner_id"] if row else None

    async def status(self, task: str, owner: str) -> str | None:
        """Return the status of a task of ``owner``."""
        row = await self._database.read_one(STATUS, task=task, owner=owner)
        return row["status"] if row else None

    async def live(self, owner: str, limit: int) -> int:
        """Count the unfinished tasks of ``owner``, up to ``limit``."""
        unfinished = select(Task.id).where(
            Task.owner_id == owner, Task.status.in_(("queued", "waiting", "running"))
        )
        row = await self._database.first(
            select(func.count().label("n")).select_from(unfinished.limit(limit).subquery())
        )
        return row["n"] if row else 0

    async def owner_of(self, task: str) -> str | None:
        """Return whose task it is."""
        row = await self._database.read_one(OWNER, task=task)
        return row["owner_id"] if row else None

    async def leader_of(self, task: str) -> str | None:
        """Return the task whose end a task waits for."""
        row = await self._database.read_one(LEADER, task=task)
        return row["leader_id"] if row else None

    async def final(self, task: str) -> Row | None:
        """Return a finished task's end: attempt, final_seq, output, started_at, finished_at."""
        return await self._database.read_one(FINAL_ROW, task=task)

    async def finished(self, tasks: Sequence[str]) -> set[str]:
        """Return which of ``tasks`` are finished."""
        rows = await self._database.all(select(Task.id).where(Task.id.in_(tasks), Task.status.in_(_FINAL)))
        return {row["id"] for row in rows}

    async def events(self, task: str, after: EventId) -> list[Row]:
        """Return the state events of a task after ``after``, in order."""
        # Clients choose cursors; one beyond what the columns hold is beyond every event, too.
        attempt, seq = (min(number, _INTEGER) for number in after)
        return await self._database.read(EVENTS, task=task, attempt=attempt, seq=seq)

    async def newest_events(self, tasks: Sequence[str]) -> list[Row]:
        """Return the last state event of each of ``tasks``: task_id, attempt, seq, type, at."""
        later = TaskEvent.__table__.alias("later")
        newer = select(later.c.seq).where(
            later.c.task_id == TaskEvent.task_id,
            tuple_(later.c.attempt, later.c.seq) > tuple_(TaskEvent.attempt, TaskEvent.seq),
        )
        return await self._database.all(
            select(TaskEvent.task_id, TaskEvent.attempt, TaskEvent.seq, TaskEvent.type, TaskEvent.at).where(
                TaskEvent.task_id.in_(tasks), ~newer.exists()
            )
        )

    async def owner_events(self, owner: str, after: tuple[int, str, int, int], limit: int) -> list[Row]:
        """Return state events of ``owner`` after a cursor, in the order of R25."""
        position = tuple_(TaskEvent.xid, TaskEvent.task_id, TaskEvent.attempt, TaskEvent.seq)
        query = select(TaskEvent.xid, TaskEvent.task_id, *_EVENT).where(
            TaskEvent.owner_id == owner, position > after, TaskEvent.xid < self._safe_xid()
        )
        ordered = query.order_by(TaskEvent.xid, TaskEvent.task_id, TaskEvent.attempt, TaskEvent.seq)
        return await self._database.all(ordered.limit(limit))

    async def newest_xid(self) -> int:
        """Return the transaction number below which nothing can appear any more (R25)."""
        row = await self._database.first(select(self._safe_xid().label("xid")))
        return int(row["xid"]) if row else 0

    def _safe_xid(self) -> Any:
        if not self._database.sqlite:
            return cast(
                literal_column("pg_snapshot_xmin(pg_current_snapshot())::text", type_=BigInteger), BigInteger
            )
        newest = select(TaskEvent.xid).order_by(literal_column("rowid").desc()).limit(1)
        return func.coalesce(newest.scalar_subquery(), 0) + 1

    async def under_way(self, owner: str, work: str) -> bool:
        """Tell whether a task of ``owner`` that others may share does the work with the hash ``work`` (R20)."""
        alive = Task.status.in_(("queued", "waiting", "running"))
        same = (Task.owner_id == owner, Task.input_hash == work, Task.deterministic, Task.leader_id.is_(None))
        return await self._database.first(select(Task.id).where(*same, alive).limit(1)) is not None

    async def keyed(self, owner: str, key: str) -> Duplicate | None:
        """Return what an idempotency key of ``owner`` stands for (R19)."""
        row = await self._database.first(
            select(IdempotencyKey.task_id, IdempotencyKey.body_hash).where(
                IdempotencyKey.owner_id == owner, IdempotencyKey.key == key, IdempotencyKey.expires_at > now()
            )
        )
        return Duplicate(row["task_id"], row["body_hash"]) if row else None

    async def delete(self, task: str, owner: str) -> bool:
        """Delete a finished task of ``owner`` with everything that belongs to it alone."""
        sharer = aliased(Task)
        shared = select(sharer.id).where(sharer.leader_id == task)
        async with self._database.transaction() as transaction:
            gone = await transaction.execute(
                delete(Task)
                .where(Task.id == task, Task.owner_id == owner, Task.status.in_(_FINAL))
                # They need it to tell how they end; that is a matter of seconds at most.
                .where(~shared.where(sharer.status == "waiting").exists())
                .returning(*CHARGED)
            )
            row = gone.first()
            if row is None:
                return False
            transaction.add_all(archived(row))
            await transaction.execute(delete(TaskEvent).where(TaskEvent.task_id == task))
            await transaction.execute(
                delete(TaskOutput).where(
                    TaskOutput.task_id == task, ~shared.where(sharer.output_apart).exists()
                )
            )
            return True
