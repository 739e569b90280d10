"""Running failed and cancelled tasks again: one, some, or all dead letters of a user."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import Conflict, GridError, NotFound, OutcomeUnknown, Unavailable
from neurogrid.core.ids import is_id
from neurogrid.core.prepared import Row
from neurogrid.events.states import StateEvents
from neurogrid.idempotency.turns import Turns
from neurogrid.limits.rows import Grant, Rows
from neurogrid.queue.answers import Requeued
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Replay
from neurogrid.queue.policy import Status
from neurogrid.tasks import views
from neurogrid.tasks.load import OwnerLoad
from neurogrid.tasks.policy import GENERATION, cost_of
from neurogrid.tasks.ports import Allowance, Budget, Dispatching, Models
from neurogrid.tasks.store import TaskStore

MAX_REPLAYS: Final = 1000
_REPLAYABLE: Final = frozenset({Status.FAILED, Status.CANCELED})
_TURN: Final = "replay"
_NO_TASK = "There is no task with this id among yours."

Given = Annotated[str, StringConstraints(max_length=100)]


class ReplayRequest(BaseModel):
    """Which tasks to run again: those named by `ids`, or with `all` the dead letters."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Given], Field(min_length=1, max_length=MAX_REPLAYS)] | None = Field(
        None, description=f"Up to {MAX_REPLAYS:,} failed or cancelled tasks."
    )
    all: StrictBool = Field(False, description=f"The oldest {MAX_REPLAYS:,} dead letters.")
    model: str | None = Field(None, max_length=200, description="With `all`: only those of this model.")

    @model_validator(mode="after")
    def _either(self) -> ReplayRequest:
        if (self.ids is None) is not self.all:
            msg = "give either ids or all: true"
            raise ValueError(msg)
        if self.model is not None and not self.all:
            msg = "model goes with all: true"
            raise ValueError(msg)
        return self


class RefusedReplay(BaseModel):
    """A task that is not run again, and why."""

    id: str
    code: str = Field(
        description="`not_found`, `conflict` (it has neither failed nor been cancelled), `rate_limited`, "
        "`quota_exceeded` or `unavailable`."
    )
    detail: str


class ReplayAnswer(BaseModel):
    """What became of a request to run tasks again."""

    replayed: list[str]
    refused: list[RefusedReplay]
    more: bool = Field(description="Whether there are further dead letters: ask again for them.")


class Replays:
    """Puts finished tasks back into the queue. Each counts as a new task against every limit but the bill."""

    def __init__(
        self,
        journal: Journal,
        store: TaskStore,
        states: StateEvents,
        models: Models,
        dispatching: Dispatching,
        load: OwnerLoad,
        budget: Budget,
        allowance: Allowance,
    ) -> None:
        """Write through ``journal``, and let ``dispatching`` know what waits then; hold tokens of ``budget``."""
        self._journal = journal
        self._store = store
        self._states = states
        self._models = models
        self._dispatching = dispatching
        self._load = load
        self._budget = budget
        self._allowance = allowance
        self._turns = Turns()

    async def retry(self, actor: Identity, task: str) -> bytes:
        """Run a failed or cancelled task again and return it as JSON.

        Raises ``NotFound``, ``Conflict``, ``TooManyTasks``, ``QuotaExceeded``, ``LimitExceeded``, ``Unavailable``.
        """
        async with self._turns.take(actor.user_id, _TURN):
            found = await self._store.work_of(actor.user_id, [task]) if is_id(task) else {}
            if task not in found or found[task]["status"] not in _REPLAYABLE:
                raise _refusal(found[task]["status"] if task in found else None)
            await self._load.admit(actor.user_id)
            await self._hold(actor, found[task])
            answer = await self._replay(actor.user_id, task)
        if answer is None:
            raise _refusal(await self._store.status(task, actor.user_id))
        row = await self._store.get(task, actor.user_id)
        if row is None:
            raise NotFound(_NO_TASK)
        return views.whole(row)

    async def many(self, actor: Identity, request: ReplayRequest, grant: Grant) -> bytes:
        """Run many tasks again, each by itself but no more than ``grant`` grants, and return JSON that says which.

        Raises ``TooManyTasks``; ``LimitExceeded`` or ``QuotaExceeded`` where that alone keeps all from running.
        """
        owner, more = actor.user_id, False
        # One request of an owner at a time: another one could take tokens for a task that this one replays.
        async with self._turns.take(owner, _TURN):
            if request.ids is None:
                tasks = await self._store.dead_letters(owner, request.model, MAX_REPLAYS + 1)
                more = len(tasks) > MAX_REPLAYS
                tasks = tasks[:MAX_REPLAYS]
            else:
                tasks = list(dict.fromkeys(request.ids))
            await self._load.admit(owner, len(tasks))
            return orjson.dumps({**await self._replay_all(actor, tasks, grant), "more": more})

    async def _replay_all(self, actor: Identity, tasks: Sequence[str], grant: Grant) -> dict[str, Any]:
        found = await self._store.work_of(actor.user_id, [task for task in tasks if is_id(task)])
        ready = [found[task] for task in tasks if task in found and found[task]["status"] in _REPLAYABLE]
        outcomes = await self._granted(actor, ready, await grant(len(ready))) if ready else {}
        left = [task for task, outcome in outcomes.items() if outcome is None]
        statuses = {task: row["status"] for task, row in found.items()}
        statuses.update(await self._store.statuses(actor.user_id, left) if left else {})
        replayed, refused = [], []
        for task in tasks:
            outcome = outcomes.get(task)
            if isinstance(outcome, Requeued):
                replayed.append(task)
                continue
            error = outcome or _refusal(statuses.get(task))
            refused.append({"id": task, "code": error.code, "detail": error.detail})
        return {"replayed": replayed, "refused": refused}

    async def _granted(
        self, actor: Identity, ready: Sequence[Row], rows: Rows
    ) -> dict[str, Requeued | GridError | None]:
        """Replay what the limits let through; say of each other one which of them did not."""
        outcomes: dict[str, Requeued | GridError | None] = {}
        try:
            for row in ready:
                try:
                    await self._use(actor, row, rows)
                    outcomes[row["id"]] = None
                except GridError as error:
                    outcomes[row["id"]] = error
        except BaseException:
            for task, outcome in outcomes.items():
                if outcome is None:
                    self._budget.release(task)
            raise
        held = [task for task, outcome in outcomes.items() if outcome is None]
        if not held:
            raise next(error for error in outcomes.values() if isinstance(error, GridError))
        fates = await asyncio.gather(
            *(self._replay(actor.user_id, task) for task in held), return_exceptions=True
        )
        for task, fate in zip(held, fates, strict=True):
            if not isinstance(fate, Requeued | OutcomeUnknown):
                rows.put_back()
            if isinstance(fate, BaseException) and not isinstance(fate, Unavailable):
                raise fate
            outcomes[task] = fate
        return outcomes

    async def _use(self, actor: Identity, row: Row, rows: Rows) -> None:
        rows.use()
        try:
            await self._hold(actor, row)
        except GridError:
            rows.put_back()
            raise

    async def _hold(self, actor: Identity, row: Row) -> None:
        """Count a task as a new one against the month, and reserve its tokens."""
        await self._allowance.admit(actor)
        kind = await self._kind(row["model"])
        if kind == GENERATION:
            tokens = ceil(cost_of(kind, row["input_size"], orjson.loads(row["parameters"])))
            await self._budget.reserve(actor, row["id"], tokens)

    async def _kind(self, model: str) -> str:
        try:
            return (await self._models.model(model)).spec.kind
        except Unavailable:
            raise
        except GridError:  # no node has it any more; when one comes that does, it may be of this kind
            return GENERATION

    async def _replay(self, owner: str, task: str) -> Requeued | None:
        try:
            answer = await self._journal.execute(Replay(task, owner))
        except BaseException as error:
            if not isinstance(error, OutcomeUnknown):
                self._budget.release(task)
            raise
        # Of those who share an execution the leader alone is charged (R20).
        if answer is None or answer.status is Status.WAITING:
            self._budget.release(task)
        if answer is not None:
            self._states.requeued(answer)
            self._dispatching.arrived(answer.lane)
        return answer


def _refusal(status: str | None) -> GridError:
    if status is None:
        return NotFound(_NO_TASK)
    return Conflict(f"The task is {status}; only one that failed or was cancelled is run again.")
