"""Many tasks in one request: what is sent, and how each becomes a task or an error of its own."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neurogrid.core.errors import FieldError, GridError, Invalid
from neurogrid.core.http.body import MAX_FIELDS
from neurogrid.core.http.fields import MAX_SHOWN, join
from neurogrid.tasks.schemas import TaskSubmit, TaskView

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
    try:
        body = TaskSubmit.model_validate(task)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[:MAX_ERRORS]
        errors = [FieldError(join(each["loc"])[:MAX_SHOWN], each["msg"][:MAX_SHOWN]) for each in found]
        return Invalid("This is not a task that can be run.", errors=errors)
    if "priority" not in body.model_fields_set:
        return body.model_copy(update={"priority": "low"})
    return body


class BulkProblem(BaseModel):
    """Why one task was refused."""

    code: str
    status: int = Field(description="The status that the task alone would have been answered with.")
    detail: str
    errors: list[dict[str, str]]


class BulkRow(BaseModel):
    """What became of one task."""

    status: Literal["accepted", "refused"]
    task: TaskView | None = None
    error: BulkProblem | None = None


class BulkAnswer(BaseModel):
    """What became of all of them, in their order."""

    accepted: int
    refused: int
    data: list[BulkRow]
