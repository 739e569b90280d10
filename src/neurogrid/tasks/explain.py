"""Explaining a task, and quoting one before it is submitted (GRID-12)."""

from __future__ import annotations

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
from neurogrid.queue.policy import Status, WaitReason
from neurogrid.queue.views import Place
from neurogrid.tasks import deadlines, forecast
from neurogrid.tasks.outlook import Outlook
from neurogrid.tasks.policy import WEIGHTS, cost_of, priority_of
from neurogrid.tasks.ports import Dispatching, Models
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

    reason: str = Field(
        examples=[
            "no_node",
            "requirement_unmet",
            "no_slot",
            "other_owners",
            "backoff",
            "leader",
            "concurrency",
        ]
    )
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
    shared_with: str | None = Field(
        description="The identical task of yours whose execution this one shares: it is charged once, there."
    )
    cost: Cost
    decisions: list[TaskEventView] = Field(description="Everything that happened to it, oldest first.")


class Quote(BaseModel):
    """What would become of a task, were it submitted now."""

    valid: bool = Field(True, description="Whether it would be accepted; not when its deadline is too near.")
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
        outlook: Outlook,
        models: Models,
        dispatching: Dispatching,
        settings: TaskSettings,
    ) -> None:
        """Look at ``store`` for what was, and through ``outlook`` at what lies ahead."""
        self._store = store
        self._outlook = outlook
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
            shared_with=row["leader_id"],
            cost=Cost(
                estimated=row["cost"], weight=row["weight"], usage=usage if row["finished_at"] else None
            ),
            decisions=[TaskEventView.model_validate_json(event.raw) for event in events],
        )

    async def _wait(self, row: Row) -> tuple[Wait | None, ExpectedStart | None]:
        if row["status"] == Status.WAITING:
            reason = row["wait_reason"] or "waiting"
            detail = _WAITING.get(reason, "").format(at_once=row["at_once"])
            return Wait(reason=reason, detail=detail, until=row["run_at"]), None
        if row["status"] != Status.QUEUED:
            return None, None
        requires = orjson.loads(row["requires"] or "{}")
        place = Place(row["lane"], row["class"], row["rank"], row["owner_id"])
        servers, queue = await self._outlook.look(row["model"], place)
        reason = forecast.why(servers, requires, queue)
        wait = Wait(reason=reason, detail=forecast.SENTENCES[reason], ahead=queue.ahead)
        return wait, _start(forecast.expect(servers, requires, queue))

    async def quote(self, actor: Identity, body: TaskSubmit) -> Quote:
        """Say what would become of a task. Raises ``UnknownModel``, ``Invalid``."""
        deadlines.require_to_come(body.deadline)
        model = await self._models.model(body.model or self._default_model)
        model.validate(body.input, body.parameters)
        spec = model.spec
        priority = priority_of(actor.tier, body.priority)
        weight = WEIGHTS[actor.tier]
        cost = cost_of(spec.kind, len(orjson.dumps(body.input)), body.parameters)
        lane = await self._dispatching.lane(spec.name, body.requires)
        place = await self._outlook.place(actor.user_id, lane, priority, cost / weight)
        servers, queue = await self._outlook.look(spec.name, place)
        start = forecast.expect(servers, body.requires, queue)
        late = deadlines.too_late(body.deadline, start, queue.durations)
        return Quote(
            valid=late is None,
            model=spec.name,
            priority=priority.name.lower(),
            cost=Cost(estimated=cost, weight=weight),
            position=queue.ahead if start is not None else None,
            expected_start=_start(start),
            detail=late or forecast.SENTENCES[forecast.why(servers, body.requires, queue)],
        )


_WAITING: dict[str, str] = {
    WaitReason.BACKOFF: "It failed in a way that may pass, and is tried again after a pause.",
    WaitReason.LEADER: "An identical task of yours is under way (`shared_with`); both end with its result.",
    WaitReason.CONCURRENCY: "Your tier runs at most {at_once} of your tasks at once; it begins when one of them is done.",
}


def _start(expectation: forecast.Expectation | None) -> ExpectedStart | None:
    if expectation is None:
        return None
    return ExpectedStart(p50_seconds=round(expectation.p50, 3), p90_seconds=round(expectation.p90, 3))
