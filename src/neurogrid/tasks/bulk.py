"""Many tasks in one request: what is sent, and how each becomes a task or an error of its own, once (R19)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import FieldError, GridError, Invalid, OutcomeUnknown
from neurogrid.core.http.body import MAX_FIELDS
from neurogrid.core.http.fields import MAX_SHOWN, join
from neurogrid.idempotency.service import Answer, Idempotency, Keyed
from neurogrid.limits.rows import Rows
from neurogrid.tasks import views
from neurogrid.tasks.schemas import TaskSubmit, TaskView
from neurogrid.tasks.store import TaskStore
from neurogrid.tasks.submission import Submissions, Submitted

MAX_BULK: Final = 1000
MAX_BULK_BODY: Final = 32 * 1024 * 1024
MAX_ERRORS: Final = 10


class BulkSubmit(BaseModel):
    """Tasks to run, each as `POST /v1/tasks` takes it."""

    model_config = ConfigDict(extra="forbid")

    tasks: Annotated[list[Any], Field(min_length=1, max_length=MAX_BULK)] = Field(
        examples=[[{"model": "sentiment", "input": "Good."}, {"model": "sentiment", "input": "Bad."}]]
    )

    def parsed(self) -> list[TaskSubmit | GridError]:
        """Return each task, or the error that says what is wrong with it."""
        return [_parse(task) for task in self.tasks]


def _parse(task: Any) -> TaskSubmit | GridError:
    if isinstance(task, dict) and len(task) > MAX_FIELDS:  # each unknown one would cost an error
        return Invalid(f"The task has more than {MAX_FIELDS} fields.")
    if isinstance(task, dict):
        task = {"priority": "low", **task}
    try:
        return TaskSubmit.model_validate(task)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[:MAX_ERRORS]
        errors = [FieldError(join(each["loc"])[:MAX_SHOWN], each["msg"][:MAX_SHOWN]) for each in found]
        return Invalid("This is not a task that can be run.", errors=errors)


class BulkProblem(BaseModel):
    """Why one task was refused."""

    code: str
    status: int = Field(description="The status that the task alone would have been answered with.")
    detail: str
    errors: list[dict[str, str]]


class BulkRow(BaseModel):
    """What became of one task."""

    status: Literal["accepted", "refused"]
    task: TaskView | None = Field(
        None, description="Of an accepted one; absent when it was deleted before the request was repeated."
    )
    error: BulkProblem | None = None


class BulkAnswer(BaseModel):
    """What became of all of them, in their order."""

    accepted: int
    refused: int
    data: list[BulkRow]


class BulkSubmissions:
    """Accepts many tasks at once, each by itself."""

    def __init__(self, submissions: Submissions, store: TaskStore, idempotency: Idempotency) -> None:
        """Hand each task to ``submissions``; remember in ``idempotency`` what became of all."""
        self._submissions = submissions
        self._store = store
        self._idempotency = idempotency

    async def submit(
        self, actor: Identity, body: BulkSubmit, keyed: Keyed | None, rows: Rows | None = None
    ) -> Answer:
        """Accept each task or refuse it; the answer has a task or a problem for each, in their order.

        With a key, what was accepted and refused stays so: a request that is repeated finds its tasks as they are
        now. They are many transactions, so each task has a key of its own, and a request that was cut off is
        completed by the next one. No more of them than ``rows`` become tasks. Raises ``IdempotencyConflict``, and
        ``LimitExceeded`` when ``rows`` are none and the request was not answered before.
        """
        granted = rows or Rows(None)
        if granted.empty and (keyed is None or not await self._idempotency.answered(keyed)):
            granted.use()
        fresh: list[Row] = []

        async def work(name: str) -> Answer:
            fresh.extend(await self._submit(actor, body, lambda place: f"{name} {place}", granted))
            if any(row.code == OutcomeUnknown.code for row in fresh):
                msg = "The database did not answer in time; repeat the request with its key to learn what became of it."
                raise OutcomeUnknown(msg, retry_after=5)
            return Answer(200, orjson.dumps([row.record for row in fresh]))

        if keyed is None:
            return Answer(200, _rendered(await self._submit(actor, body, lambda _: None, granted)))
        answer = await self._idempotency.repeatable(keyed, work)
        found = await self._found(actor, orjson.loads(answer.body)) if answer.replayed else fresh
        return Answer(answer.status, _rendered(found), replayed=answer.replayed)

    async def _submit(
        self, actor: Identity, body: BulkSubmit, key: Callable[[int], str | None], granted: Rows
    ) -> list[Row]:
        tasks = body.parsed()
        sound = [(task, key(place)) for place, task in enumerate(tasks) if isinstance(task, TaskSubmit)]
        outcomes = iter(await self._submissions.submit_many(actor, sound, granted))
        return [_row(next(outcomes) if isinstance(task, TaskSubmit) else task) for task in tasks]

    async def _found(self, actor: Identity, records: Sequence[str | dict[str, Any]]) -> list[Row]:
        tasks = [record for record in records if isinstance(record, str)]
        found = {row["id"]: views.whole(row) for row in await self._store.several(tasks, actor.user_id)}
        return [Row(record, found.get(record) if isinstance(record, str) else None) for record in records]


class Row(NamedTuple):
    """What became of one task: its id, and itself as JSON while it exists, or the problem with it."""

    record: str | dict[str, Any]
    task: bytes | None = None

    @property
    def code(self) -> str | None:
        """The code of the problem, if there is one."""
        return None if isinstance(self.record, str) else self.record["code"]

    @property
    def shown(self) -> dict[str, Any]:
        """What the answer says of it."""
        if not isinstance(self.record, str):
            return {"status": "refused", "error": self.record}
        return {"status": "accepted", "task": self.task and orjson.Fragment(self.task)}


def _row(outcome: Submitted | GridError) -> Row:
    if isinstance(outcome, Submitted):
        return Row(outcome.id, outcome.body)
    errors = [{"field": each.field, "message": each.message} for each in outcome.errors]
    return Row({"code": outcome.code, "status": outcome.status, "detail": outcome.detail, "errors": errors})


def _rendered(rows: Sequence[Row]) -> bytes:
    accepted = sum(isinstance(row.record, str) for row in rows)
    return orjson.dumps(
        {"accepted": accepted, "refused": len(rows) - accepted, "data": [row.shown for row in rows]}
    )
