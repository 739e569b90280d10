"""Running failed and cancelled tasks again: one, some, or all dead letters of a user."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import Conflict, GridError, NotFound, Unavailable
from neurogrid.core.ids import is_id
from neurogrid.events.states import StateEvents
from neurogrid.queue.answers import Requeued
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Replay
from neurogrid.tasks import views
from neurogrid.tasks.load import OwnerLoad
from neurogrid.tasks.ports import Allowance, Dispatching
from neurogrid.tasks.store import TaskStore

MAX_REPLAYS: Final = 1000
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
        description="`not_found`, `conflict` (it has neither failed nor been cancelled) or `unavailable`."
    )
    detail: str


class ReplayAnswer(BaseModel):
    """What became of a request to run tasks again."""

    replayed: list[str]
    refused: list[RefusedReplay]
    more: bool = Field(description="Whether there are further dead letters: ask again for them.")


class Replays:
    """Puts finished tasks back into the queue."""

    def __init__(
        self,
        journal: Journal,
        store: TaskStore,
        states: StateEvents,
        dispatching: Dispatching,
        load: OwnerLoad,
        allowance: Allowance,
    ) -> None:
        """Write through ``journal``, and let ``dispatching`` know what waits then."""
        self._allowance = allowance
        self._journal = journal
        self._store = store
        self._states = states
        self._dispatching = dispatching
        self._load = load

    async def retry(self, actor: Identity, task: str) -> bytes:
        """Run a failed or cancelled task again and return it as JSON.

        Raises ``NotFound``, ``Conflict``, ``TooManyTasks``, ``QuotaExceeded``, ``Unavailable``.
        """
        if not is_id(task) or await self._store.status(task, actor.user_id) is None:
            raise NotFound(_NO_TASK)
        await self._load.admit(actor.user_id)
        await self._allowance.admit(actor, 0)
        if await self._replay(actor.user_id, task) is None:
            raise _refusal(await self._store.status(task, actor.user_id))
        row = await self._store.get(task, actor.user_id)
        if row is None:
            raise NotFound(_NO_TASK)
        return views.whole(row)

    async def many(self, actor: Identity, request: ReplayRequest) -> bytes:
        """Run many tasks again, each by itself, and return JSON that says which. Raises ``TooManyTasks``, ``QuotaExceeded``."""
        owner, more = actor.user_id, False
        if request.ids is None:
            tasks = await self._store.dead_letters(owner, request.model, MAX_REPLAYS + 1)
            more = len(tasks) > MAX_REPLAYS
            tasks = tasks[:MAX_REPLAYS]
        else:
            tasks = list(dict.fromkeys(request.ids))
        await self._load.admit(owner, len(tasks))
        await self._allowance.admit(actor, 0)
        return orjson.dumps({**await self._replay_all(owner, tasks), "more": more})

    async def _replay_all(self, owner: str, tasks: Sequence[str]) -> dict[str, Any]:
        known = [task for task in tasks if is_id(task)]
        found = await asyncio.gather(*(self._replay(owner, task) for task in known), return_exceptions=True)
        outcomes = dict(zip(known, found, strict=True))
        left = [task for task, outcome in outcomes.items() if outcome is None]
        statuses = await self._store.statuses(owner, left) if left else {}
        replayed, refused = [], []
        for task in tasks:
            outcome = outcomes.get(task)
            if isinstance(outcome, Requeued):
                replayed.append(task)
                continue
            if isinstance(outcome, BaseException) and not isinstance(outcome, Unavailable):
                raise outcome
            error = outcome or _refusal(statuses.get(task))
            refused.append({"id": task, "code": error.code, "detail": error.detail})
        return {"replayed": replayed, "refused": refused}

    async def _replay(self, owner: str, task: str) -> Requeued | None:
        answer = await self._journal.execute(Replay(task, owner))
        if answer is not None:
            self._states.requeued(answer)
            self._dispatching.arrived(answer.lane)
        return answer


def _refusal(status: str | None) -> GridError:
    if status is None:
        return NotFound(_NO_TASK)
    return Conflict(f"The task is {status}; only one that failed or was cancelled is run again.")
