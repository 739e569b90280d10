"""Submit, look up, wait for and cancel tasks on behalf of their owner."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import BadRequest, Conflict, FieldError, NotFound
from neurogrid.core.ids import is_id, new_id
from neurogrid.core.settings import TaskSettings
from neurogrid.events.states import StateEvents
from neurogrid.protocol.events import START
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Cancel, Insert
from neurogrid.queue.policy import Priority, Status
from neurogrid.tasks import views
from neurogrid.tasks.load import OwnerLoad
from neurogrid.tasks.ports import Dispatching, Model, Models
from neurogrid.tasks.records import TaskRecords
from neurogrid.tasks.schemas import TaskSubmit
from neurogrid.tasks.store import TaskStore
from neurogrid.tasks.waiters import Waiters

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


@dataclass(frozen=True, slots=True)
class Submitted:
    """A durable task: its id and its JSON."""

    id: str
    body: bytes


class TaskService:
    """Everything users do with tasks."""

    def __init__(
        self,
        journal: Journal,
        store: TaskStore,
        states: StateEvents,
        models: Models,
        dispatching: Dispatching,
        waiters: Waiters,
        settings: TaskSettings,
    ) -> None:
        """Write through ``journal``, read from ``store``, hand over to ``dispatching``."""
        self._journal = journal
        self._store = store
        self._states = states
        self._models = models
        self._dispatching = dispatching
        self._waiters = waiters
        self._settings = settings
        self._records = TaskRecords(store)
        self._load = OwnerLoad(store, settings.max_queued)
        self.max_wait = settings.max_wait

    async def submit(self, actor: Identity, body: TaskSubmit, task: str | None = None) -> Submitted:
        """Accept a task, under the id ``task`` if given; when this returns, it is durable.

        Raises ``UnknownModel``, ``Invalid``, ``TooManyTasks``, ``Unavailable``, ``OutcomeUnknown``.
        """
        model = await self._models.model(body.model or self._settings.default_model)
        model.validate(body.input, body.parameters)
        await self._load.admit(actor.user_id)
        lane = await self._dispatching.lane(model.spec.name, body.requires)
        op = self._insertion(actor, body, model, lane, task or new_id())
        try:
            answer = await self._journal.execute(op)
        except BaseException:
            self._dispatching.inserted(op, None)
            raise
        self._states.inserted(op, answer)
        self._dispatching.inserted(op, answer)
        return Submitted(op.id, views.accepted(op, answer))

    def _insertion(self, actor: Identity, body: TaskSubmit, model: Model, lane: str, task: str) -> Insert:
        spec = model.spec
        return Insert(
            id=task,
            owner=actor.user_id,
            lane=lane,
            model=spec.name,
            model_version=spec.version,
            priority=Priority[body.priority.upper()].value,
            input=orjson.dumps(body.input).decode(),
            parameters=orjson.dumps(body.parameters).decode(),
            input_hash=input_hash(body, spec.name, spec.version),
            max_attempts=body.max_attempts or self._settings.max_attempts,
            deterministic=spec.deterministic,
            requires=_pairs(body.requires),
            metadata=_pairs(body.metadata),
            timeout_s=body.timeout,
            session=self._dispatching.reserve(lane),
        )

    async def get(self, actor: Identity, task: str) -> bytes:
        """Return a task as JSON. Raises ``NotFound``."""
        row = await self._store.get(task, actor.user_id) if is_id(task) else None
        if row is None:
            raise NotFound(_NO_TASK)
        return views.whole(row)

    async def submit_and_wait(
        self, actor: Identity, body: TaskSubmit, seconds: float
    ) -> tuple[Submitted, bytes | None]:
        """Accept a task and wait for it; the second value is the finished task, if it finished in time.

        Raises what ``submit`` raises.
        """
        task = new_id()
        with self._waiters.expecting(task) as over:
            submitted = await self.submit(actor, body, task)
            try:
                async with asyncio.timeout(min(seconds, self._settings.max_wait)):
                    await over.wait()
            except TimeoutError:
                return submitted, None
        return submitted, None if self._waiters.closing else await self.get(actor, task)

    async def page(self, actor: Identity, wanted: Filter, cursor: str | None, limit: int) -> bytes:
        """Return one page of tasks, newest first, as JSON. Raises ``BadRequest`` on a bad cursor."""
        rows = await self._store.page(
            actor.user_id,
            statuses=[inner for name in wanted.statuses for inner in CLIENT_STATUSES.get(name, (name,))],
            model=wanted.model,
            created_after=wanted.created_after,
            created_before=wanted.created_before,
            before=_read_cursor(cursor) if cursor else None,
            limit=limit + 1,
        )
        more = len(rows) > limit
        shown = [views.summary(row) for row in rows[:limit]]
        return orjson.dumps({"data": shown, "next_cursor": _cursor(shown[-1]["id"]) if more else None})

    async def cancel(self, actor: Identity, task: str) -> bytes:
        """Cancel a task and return it; again is no error. Raises ``NotFound``, ``Conflict``."""
        status = await self._status(actor, task)
        answer = await self._journal.execute(Cancel(task, actor.user_id))
        if answer is not None:
            self._states.canceled(answer)
            await self._dispatching.canceled(answer)
        elif (status := await self._status(actor, task)) != Status.CANCELED:
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


def input_hash(body: TaskSubmit, model: str, version: str) -> str:
    """Return the SHA-256 of a task's canonical JSON: equal for tasks that ask for the same work."""
    canonical: dict[str, Any] = {
        "model": model,
        "version": version,
        "input": body.input,
        "parameters": body.parameters,
        "requires": body.requires,
        "timeout": body.timeout,
    }
    return hashlib.sha256(orjson.dumps(canonical, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _pairs(pairs: dict[str, str]) -> str | None:
    return orjson.dumps(pairs).decode() if pairs else None


def _cursor(task: str) -> str:
    return base64.urlsafe_b64encode(task.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        task = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        task = ""
    if not is_id(task):
        msg = "The cursor is not one this server gave out; leave it out for the first page."
        raise BadRequest(msg, errors=[FieldError("cursor", msg)])
    return task
