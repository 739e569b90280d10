"""Accepting tasks: one, one and its result, or many at once (design §3)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from neurogrid.auth.policy import Identity
from neurogrid.core.db import is_away
from neurogrid.core.errors import Conflict, GridError
from neurogrid.core.ids import new_id
from neurogrid.core.settings import TaskSettings
from neurogrid.events.states import StateEvents
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Duplicate, Idempotency, Insert
from neurogrid.queue.policy import FINAL
from neurogrid.tasks import views
from neurogrid.tasks.cancellation import Cancellation
from neurogrid.tasks.idempotency import Turns, once, require_same
from neurogrid.tasks.load import OwnerLoad
from neurogrid.tasks.policy import WEIGHTS, cost_of, priority_of
from neurogrid.tasks.ports import Dispatching, Model, Models
from neurogrid.tasks.schemas import TaskSubmit
from neurogrid.tasks.store import TaskStore
from neurogrid.tasks.waiters import Waiters

Gone = Callable[[], Awaitable[None]]
"""Waits until a client has hung up."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A durable task: its id and its JSON."""

    id: str
    body: bytes
    replayed: bool = False
    """Whether an idempotency key stood for it already."""


class Submissions:
    """Accepts tasks; what it returns is durable."""

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
        """Validate against ``models``, write through ``journal``, hand over to ``dispatching``."""
        self._journal = journal
        self._store = store
        self._states = states
        self._models = models
        self._dispatching = dispatching
        self._waiters = waiters
        self._settings = settings
        self._load = OwnerLoad(store, settings.max_queued)
        self._turns = Turns()
        self._cancellation = Cancellation(journal, store, states, dispatching)
        self.max_wait = settings.max_wait

    async def submit(
        self, actor: Identity, body: TaskSubmit, *, key: str | None = None, task: str | None = None
    ) -> Submitted:
        """Accept a task, under the id ``task`` if given.

        With an idempotency ``key`` that was used before, the task of then is returned as it is now.
        Raises ``UnknownModel``, ``Invalid``, ``TooManyTasks``, ``IdempotencyConflict``, ``Unavailable``,
        ``OutcomeUnknown``.
        """
        asked = once(key, body)
        async with self._turns.take(actor.user_id, asked):
            return await self._submit(actor, body, asked, task or new_id())

    async def _submit(
        self, actor: Identity, body: TaskSubmit, asked: Idempotency | None, task: str
    ) -> Submitted:
        model = await self._models.model(body.model or self._settings.default_model)
        model.validate(body.input, body.parameters)
        await self._load.admit(actor.user_id)
        lane = await self._dispatching.lane(model.spec.name, body.requires)
        op = self._insertion(actor, body, model, lane, asked, task)
        try:
            answer = await self._journal.execute(op)
        except BaseException:
            self._dispatching.inserted(op, None)
            raise
        if isinstance(answer, Duplicate):
            self._dispatching.inserted(op, None)
            require_same(asked, answer)
            return Submitted(answer.task, await self._known(actor, answer.task), replayed=True)
        self._states.inserted(op, answer)
        self._dispatching.inserted(op, answer)
        return Submitted(op.id, views.accepted(op, answer))

    async def _known(self, actor: Identity, task: str) -> bytes:
        row = await self._store.get(task, actor.user_id)
        if row is None:
            msg = "The task that this Idempotency-Key stands for was deleted. Take a fresh key."
            raise Conflict(msg)
        return views.whole(row)

    def _insertion(
        self,
        actor: Identity,
        body: TaskSubmit,
        model: Model,
        lane: str,
        asked: Idempotency | None,
        task: str,
    ) -> Insert:
        spec = model.spec
        priority = priority_of(actor.tier, body.priority)
        input_ = orjson.dumps(body.input).decode()
        estimate = cost_of(spec.kind, len(input_), body.parameters)
        cost, present = self._dispatching.price(actor.user_id, lane, priority, estimate)
        return Insert(
            id=task,
            owner=actor.user_id,
            lane=lane,
            model=spec.name,
            model_version=spec.version,
            priority=priority,
            cost=cost,
            weight=WEIGHTS[actor.tier],
            present=present,
            input=input_,
            parameters=orjson.dumps(body.parameters).decode(),
            input_hash=input_hash(body, spec.name, spec.version),
            max_attempts=body.max_attempts or self._settings.max_attempts,
            deterministic=spec.deterministic,
            requires=_pairs(body.requires),
            metadata=_pairs(body.metadata),
            timeout_s=body.timeout,
            deadline=body.deadline,
            on_disconnect=body.on_disconnect,
            session=self._dispatching.reserve(lane),
            once=asked,
        )

    async def submit_and_wait(
        self,
        actor: Identity,
        body: TaskSubmit,
        seconds: float,
        *,
        key: str | None = None,
        gone: Gone | None = None,
    ) -> tuple[Submitted, bytes | None]:
        """Accept a task and wait for it; the second value is the finished task, if it finished in time.

        A task that was asked to do so is cancelled when the client is ``gone``. Raises what ``submit`` raises.
        """
        task = new_id()
        if body.on_disconnect == "detach":
            gone = None
        with self._waiters.expecting(task) as over:
            submitted = await self.submit(actor, body, key=key, task=task)
            if not submitted.replayed and not await self._over(actor, submitted.id, over, seconds, gone):
                return submitted, None
        if submitted.replayed:
            with self._waiters.expecting(submitted.id) as over:
                status = await self._store.status(submitted.id, actor.user_id)
                if status not in FINAL and not await self._over(actor, submitted.id, over, seconds, gone):
                    return submitted, None
        try:
            return submitted, await self._known(actor, submitted.id)
        except Exception as error:
            if not is_away(error):
                raise
            return submitted, None  # an error would deny that the task is accepted

    async def _over(
        self, actor: Identity, task: str, over: asyncio.Event, seconds: float, gone: Gone | None
    ) -> bool:
        """Wait for a task's end, and cancel it when the client is ``gone`` before."""
        left = False
        try:
            async with asyncio.timeout(min(seconds, self._settings.max_wait)):
                if gone is None:
                    await over.wait()
                else:
                    left = await _first(gone, over)
        except TimeoutError:
            return False
        if left:
            await self._cancellation.cancel(actor.user_id, task, patient=True)
        return not self._waiters.closing

    async def submit_many(self, actor: Identity, bodies: Sequence[TaskSubmit | GridError]) -> bytes:
        """Accept each task by itself; return JSON with a task or a problem for each, in their order.

        An error in place of a task is handed on as its answer.
        """
        answers = await asyncio.gather(*(self._one_of_many(actor, body) for body in bodies))
        accepted = sum(1 for status, _ in answers if status == "accepted")
        rows = [
            {"status": status, "task" if status == "accepted" else "error": body} for status, body in answers
        ]
        return orjson.dumps({"accepted": accepted, "refused": len(answers) - accepted, "data": rows})

    async def _one_of_many(self, actor: Identity, body: TaskSubmit | GridError) -> tuple[str, Any]:
        try:
            if isinstance(body, GridError):
                raise body
            submitted = await self.submit(actor, body)
        except GridError as error:
            errors = [{"field": each.field, "message": each.message} for each in error.errors]
            problem = {"code": error.code, "status": error.status, "detail": error.detail, "errors": errors}
            return "refused", problem
        return "accepted", orjson.Fragment(submitted.body)


async def _first(gone: Gone, over: asyncio.Event) -> bool:
    """Wait until the client is gone or the task over; ``True`` if the client went first."""
    ends = asyncio.ensure_future(over.wait())
    leaves = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({ends, leaves}, return_when=asyncio.FIRST_COMPLETED)
        return not over.is_set()
    finally:
        ends.cancel()
        leaves.cancel()
        await asyncio.gather(ends, leaves, return_exceptions=True)


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
