"""Explaining a task, and quoting one before it is submitted (GRID-12)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson
from pydantic import BaseModel, Field

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import NotFound
from neurogrid.core.ids import is_id
from neurogrid.core.prepared import Row
from neurogrid.core.settings import TaskSettings
from neurogrid.protocol.events import START
from neurogrid.protocol.messages import Usage
from neurogrid.queue import eventdata
from neurogrid.queue.policy import Status
from neurogrid.queue.views import Place, QueueViews
from neurogrid.tasks import forecast
from neurogrid.tasks.policy import WEIGHTS, cost_of, priority_of
from neurogrid.tasks.ports import Dispatching, Fleet, Models
from neurogrid.tasks.records import TaskRecords
from neurogrid.tasks.schemas import TaskEventView, TaskSubmit
from neurogrid.tasks.store import TaskStore


class ExpectedStart(BaseModel):
    """Seconds until a task begins, from how long others of its model ran."""

    p50_seconds: float = Field(description="As often sooner as later.")
    p90_seconds: float = Field(description="Sooner nine times out of ten.")


class Cost(BaseModel):
    """What a task is charged against its owner's share, and what it used."""

    estimated: float = Field(description="Tokens where the model counts them, else 1.")
    weight: float = Field(description="The weight of the owner's tier: its share of a busy model.")
    usage: dict[str, float] | None = None


class Wait(BaseModel):
    """Why a task does not run."""

    reason: str = Field(examples=["no_node", "requirement_unmet", "no_slot", "other_owners", "backoff"])
    detail: str
    ahead: int | None = Field(None, description="Tasks that go first.")
    until: datetime | None = Field(None, description="When it is tried again, if that is known.")


class Explanation(BaseModel):
    """Why a task waits or waited, and every decision about it."""

    task_id: str
    status: str
    wait: Wait | None
    expected_start: ExpectedStart | None
    attempt: int
    node: str | None
    cached: bool
    cost: Cost
    decisions: list[TaskEventView] = Field(description="Everything that happened to it, oldest first.")


class Quote(BaseModel):
    """What would become of a task, were it submitted now."""

    valid: bool = True
    model: str
    priority: str
    cost: Cost
    position: int | None = Field(description="Tasks that would go first; null while no node can run it.")
    expected_start: ExpectedStart | None
    detail: str


class Forecaster:
    """Says what the queue, the nodes and the past let expect."""

    def __init__(
        self,
        store: TaskStore,
        queue: QueueViews,
        fleet: Fleet,
        models: Models,
        dispatching: Dispatching,
        settings: TaskSettings,
    ) -> None:
        """Look at ``store`` and ``queue``; ask ``fleet`` who serves a model."""
        self._store = store
        self._queue = queue
        self._fleet = fleet
        self._models = models
        self._dispatching = dispatching
        self._default_model = settings.default_model
        self._records = TaskRecords(store)

    async def explain(self, actor: Identity, task: str) -> Explanation:
        """Say why a task waits or waited. Raises ``NotFound``."""
        row = await self._store.explained(task, actor.user_id) if is_id(task) else None
        if row is None:
            msg = "There is no task with this id among yours."
            raise NotFound(msg)
        wait, start = await self._wait(row)
        events = await self._records.state_events(task, START)
        waiting = row["status"] == Status.WAITING
        usage = eventdata.usage_json(
            Usage(row["prompt_tokens"], row["completion_tokens"], row["compute_seconds"])
        )
        return Explanation(
            task_id=task,
            status="queued" if waiting else row["status"],
            wait=wait,
            expected_start=start,
            attempt=row["attempt"],
            node=row["node"],
            cached=row["cached"],
            cost=Cost(
                estimated=row["cost"], weight=row["weight"], usage=usage if row["finished_at"] else None
            ),
            decisions=[TaskEventView.model_validate_json(event.raw) for event in events],
        )

    async def _wait(self, row: Row) -> tuple[Wait | None, ExpectedStart | None]:
        if row["status"] == Status.WAITING:
            detail = "It failed in a way that may pass, and is tried again after a pause."
            return Wait(reason=row["wait_reason"] or "waiting", detail=detail, until=row["run_at"]), None
        if row["status"] != Status.QUEUED:
            return None, None
        requires = orjson.loads(row["requires"] or "{}")
        place = Place(row["lane"], row["class"], row["rank"], row["owner_id"])
        servers, queue = await self._look(row["model"], place)
        reason = forecast.why(servers, requires, queue)
        wait = Wait(reason=reason, detail=forecast.SENTENCES[reason], ahead=queue.ahead)
        return wait, _start(forecast.expect(servers, requires, queue))

    async def _look(self, model: str, place: Place) -> tuple[Sequence[forecast.Server], forecast.Queue]:
        figures = await self._queue.before(place)
        durations = await self._queue.durations(model)
        queue = forecast.Queue(figures.others, figures.own, figures.running, durations)
        return await self._fleet.serving(model), queue

    async def quote(self, actor: Identity, body: TaskSubmit) -> Quote:
        """Say what would become of a task. Raises ``UnknownModel``, ``Invalid``."""
        model = await self._models.model(body.model or self._default_model)
        model.validate(body.input, body.parameters)
        spec = model.spec
        priority = priority_of(actor.tier, body.priority)
        weight = WEIGHTS[actor.tier]
        cost = cost_of(spec.kind, len(orjson.dumps(body.input)), body.parameters)
        lane = await self._dispatching.lane(spec.name, body.requires)
        present = self._dispatching.present(lane, priority)
        last = await self._queue.last_rank(actor.user_id, lane, priority)
        place = Place(lane, priority, max(present, last) + cost / weight, actor.user_id)
        servers, queue = await self._look(spec.name, place)
        start = forecast.expect(servers, body.requires, queue)
        return Quote(
            model=spec.name,
            priority=priority.name.lower(),
            cost=Cost(estimated=cost, weight=weight),
            position=queue.ahead if start is not None else None,
            expected_start=_start(start),
            detail=forecast.SENTENCES[forecast.why(servers, body.requires, queue)],
        )


def _start(expectation: forecast.Expectation | None) -> ExpectedStart | None:
    if expectation is None:
        return None
    return ExpectedStart(p50_seconds=round(expectation.p50, 3), p90_seconds=round(expectation.p90, 3))
