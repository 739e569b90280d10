"""Submit, look up, wait for and cancel tasks on behalf of their owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import Conflict, NotFound
from neurogrid.core.http import pages
from neurogrid.core.ids import is_id
from neurogrid.protocol.events import START
from neurogrid.queue.policy import Status
from neurogrid.tasks import views
from neurogrid.tasks.cancellation import Cancellation
from neurogrid.tasks.records import TaskRecords
from neurogrid.tasks.store import TaskStore

MAX_PAGE = 100
CLIENT_STATUSES = {"queued": (Status.QUEUED.value, Status.WAITING.value)}

_NO_TASK = "There is no task with this id among yours."


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks a list shall show."""

    statuses: Sequence[str] = ()
    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    dead_letters: bool = False


class TaskService:
    """Everything users do with tasks."""

    def __init__(self, store: TaskStore, cancellation: Cancellation) -> None:
        """Read from ``store``, cancel through ``cancellation``."""
        self._store = store
        self._cancellation = cancellation
        self._records = TaskRecords(store)

    async def get(self, actor: Identity, task: str) -> bytes:
        """Return a task as JSON. Raises ``NotFound``."""
        row = await self._store.get(task, actor.user_id) if is_id(task) else None
        if row is None:
            raise NotFound(_NO_TASK)
        return views.whole(row)

    async def page(self, actor: Identity, wanted: Filter, cursor: str | None, limit: int) -> bytes:
        """Return one page of tasks, newest first, as JSON. Raises ``BadRequest`` on a bad cursor."""
        rows = await self._store.page(
            actor.user_id,
            statuses=[inner for name in wanted.statuses for inner in CLIENT_STATUSES.get(name, (name,))],
            model=wanted.model,
            created_after=wanted.created_after,
            created_before=wanted.created_before,
            dead_letters=wanted.dead_letters,
            before=pages.decode(cursor or None, is_id),
            limit=limit + 1,
        )
        shown, after = pages.cut(rows, limit, lambda row: str(row["id"]))
        return orjson.dumps({"data": [views.summary(row) for row in shown], "next_cursor": after})

    async def cancel(self, actor: Identity, task: str) -> bytes:
        """Cancel a task and return it; again is no error. Raises ``NotFound``, ``Conflict``."""
        await self._status(actor, task)
        canceled = await self._cancellation.cancel(actor.user_id, task)
        if not canceled and (status := await self._status(actor, task)) != Status.CANCELED:
            msg = f"The task is {status} already; there is nothing to cancel."
            raise Conflict(msg)
        return await self.get(actor, task)

    async def delete(self, actor: Identity, task: str) -> None:
        """Delete a finished task. Raises ``NotFound``, ``Conflict`` while it is not finished."""
        status = await self._status(actor, task)
        if not await self._store.delete(task, actor.user_id):
            msg = f"The task is {status}; cancel it before deleting it."
            raise Conflict(msg)

    async def log(self, actor: Identity, task: str) -> bytes:
        """Return all state events of a task as JSON, oldest first. Raises ``NotFound``."""
        await self._status(actor, task)
        events = await self._records.state_events(task, START)
        return b'{"data":[' + b",".join(event.raw for event in events) + b"]}"

    async def _status(self, actor: Identity, task: str) -> str:
        status = await self._store.status(task, actor.user_id) if is_id(task) else None
        if status is None:
            raise NotFound(_NO_TASK)
        return status
