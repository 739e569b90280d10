"""Checking a task before it is written: model, lane, deadline, load; what passes is a row for the journal."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from datetime import datetime
from math import ceil
from typing import Any, Final, NamedTuple

import orjson

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import GridError
from neurogrid.core.settings import TaskSettings
from neurogrid.limits.rows import Rows
from neurogrid.queue.ops import Idempotency, Insert
from neurogrid.tasks.deadlines import DeadlineInfeasible, Deadlines
from neurogrid.tasks.load import OwnerLoad
from neurogrid.tasks.policy import GENERATION, WEIGHTS, cost_of, is_deterministic, priority_of
from neurogrid.tasks.ports import Allowance, Budget, Dispatching, Model, Models
from neurogrid.tasks.schemas import TaskSubmit
from neurogrid.tasks.store import TaskStore

AT_ONCE: Final = 100
"""Tasks of one request that are checked before others get their turn."""


class Wanted(NamedTuple):
    """A task that is asked for: its id to be, and what makes it happen once."""

    body: TaskSubmit
    task: str
    once: Idempotency | None = None


class _LookUps:
    """What a request has to look up, once however many of its tasks need it."""

    def __init__(self, models: Models, dispatching: Dispatching) -> None:
        self._find = models.model
        self._lane = dispatching.lane
        self._models: dict[str, Model] = {}
        self._lanes: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}

    async def model(self, name: str) -> Model:
        if name not in self._models:
            self._models[name] = await self._find(name)
        return self._models[name]

    async def lane(self, model: str, requires: dict[str, str]) -> str:
        key = (model, frozenset(requires.items()))
        if key not in self._lanes:
            self._lanes[key] = await self._lane(model, requires)
        return self._lanes[key]


class Preparation:
    """Makes rows of what users ask for."""

    def __init__(
        self,
        store: TaskStore,
        models: Models,
        dispatching: Dispatching,
        deadlines: Deadlines,
        budget: Budget,
        allowance: Allowance,
        settings: TaskSettings,
    ) -> None:
        """Validate against ``models``; hold slots of ``dispatching``, and tokens of ``budget``."""
        self._store = store
        self._models = models
        self._dispatching = dispatching
        self._deadlines = deadlines
        self._budget = budget
        self._allowance = allowance
        self._settings = settings
        self._load = OwnerLoad(store, settings.max_queued)

    async def row(self, actor: Identity, wanted: Wanted) -> Insert:
        """Check a task and hold a slot for it.

        Raises ``UnknownModel``, ``Invalid``, ``TooManyTasks``, ``QuotaExceeded``, ``LimitExceeded``, ``Unavailable``.
        """
        return await self._row(actor, wanted, _LookUps(self._models, self._dispatching))

    async def rows(
        self, actor: Identity, wanted: Iterable[Wanted], granted: Rows
    ) -> list[Insert | GridError]:
        """Check tasks and hold slots for those that pass, no more than ``granted``.

        What is wrong with another stands in its place.
        """
        known = _LookUps(self._models, self._dispatching)
        rows: list[Insert | GridError] = []
        try:
            for one in wanted:
                try:
                    granted.use()
                    rows.append(await self._granted(actor, one, known, granted))
                except GridError as error:
                    rows.append(error)
                if len(rows) % AT_ONCE == 0:
                    await asyncio.sleep(0)
        except BaseException:
            self.give_back(rows)
            raise
        return rows

    async def _granted(self, actor: Identity, wanted: Wanted, known: _LookUps, granted: Rows) -> Insert:
        try:
            return await self._row(actor, wanted, known)
        except GridError:
            granted.put_back()
            raise

    def give_back(self, rows: Iterable[Insert | GridError]) -> None:
        """Let go of the slots and tokens held for tasks that are not written."""
        for row in rows:
            if isinstance(row, Insert):
                self._budget.release(row.id)
                self._dispatching.inserted(row, None)

    async def _row(self, actor: Identity, wanted: Wanted, known: _LookUps) -> Insert:
        body = wanted.body
        model = await known.model(body.model or self._settings.default_model)
        model.validate(body.input, body.parameters)
        lane = await known.lane(model.spec.name, body.requires)
        if body.deadline is not None:
            await self._require_feasible(actor, body, body.deadline, model, lane)
        await self._load.admit(actor.user_id)
        await self._allowance.admit(actor)
        input_ = orjson.dumps(body.input).decode()
        estimate = cost_of(model.spec.kind, len(input_), body.parameters)
        if model.spec.kind == GENERATION:
            await self._budget.reserve(actor, wanted.task, ceil(estimate))
        return self._insertion(actor, wanted, model, lane, input_, estimate)

    async def _require_feasible(
        self, actor: Identity, body: TaskSubmit, deadline: datetime, model: Model, lane: str
    ) -> None:
        """Raise ``Invalid`` for a deadline that cannot be kept, unless the same work is under way already (R20)."""
        spec = model.spec
        place = (actor.user_id, lane, priority_of(actor.tier, body.priority))
        try:
            await self._deadlines.require_feasible(deadline, spec.name, body.requires, place)
        except DeadlineInfeasible:
            work = input_hash(body, spec.name, spec.version)
            shared = is_deterministic(spec.deterministic, body.parameters)
            if not (shared and await self._store.under_way(actor.user_id, work)):
                raise

    def _insertion(
        self, actor: Identity, wanted: Wanted, model: Model, lane: str, input_: str, estimate: float
    ) -> Insert:
        body = wanted.body
        spec = model.spec
        priority = priority_of(actor.tier, body.priority)
        cost, present = self._dispatching.price(actor.user_id, lane, priority, estimate)
        return Insert(
            id=wanted.task,
            owner=actor.user_id,
            key_id=actor.key_id,
            lane=lane,
            model=spec.name,
            model_version=spec.version,
            priority=priority,
            cost=cost,
            corrected=cost - estimate,
            weight=WEIGHTS[actor.tier],
            at_once=self._budget.at_once(actor),
            present=present,
            input=input_,
            parameters=orjson.dumps(body.parameters).decode(),
            input_hash=input_hash(body, spec.name, spec.version),
            max_attempts=body.max_attempts or self._settings.max_attempts,
            deterministic=is_deterministic(spec.deterministic, body.parameters),
            requires=_pairs(body.requires),
            metadata=_pairs(body.metadata),
            timeout_s=body.timeout,
            deadline=body.deadline,
            on_disconnect=body.on_disconnect,
            session=self._dispatching.reserve(lane),
            once=wanted.once,
        )


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
