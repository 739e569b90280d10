"""What clients send and see of tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from neurogrid.core.http.moments import Moment
from neurogrid.core.http.numbers import IS_NUMBER

MAX_PAIRS = 32
MAX_LABELS = 8
MAX_TIMEOUT = 24 * 3600.0


Key = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Value = Annotated[str, StringConstraints(max_length=512)]
Pairs = Annotated[dict[Key, Value], Field(max_length=MAX_PAIRS)]
Labels = Annotated[dict[Key, Annotated[str, StringConstraints(max_length=128)]], Field(max_length=MAX_LABELS)]
ClientStatus = Literal["queued", "running", "completed", "failed", "canceled"]

SUBMIT_EXAMPLES: dict[str, Any] = {
    "text": {
        "summary": "Generate text with the default model",
        "value": {"input": "Name three uses of a paper clip."},
    },
    "chat": {
        "summary": "Chat, with parameters",
        "value": {
            "model": "smollm2-135m",
            "input": {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
            "parameters": {"max_tokens": 64, "temperature": 0.2, "seed": 7},
        },
    },
    "embeddings": {
        "summary": "Embed texts",
        "value": {"model": "e5-small", "input": ["how much protein per day", "paper clips"]},
    },
    "language": {
        "summary": "Identify a language",
        "value": {"model": "language", "input": "Où est la gare ?"},
    },
}


class TaskSubmit(BaseModel):
    """A task to run. Only `input` is needed."""

    model_config = ConfigDict(extra="forbid")

    input: Any = Field(description="What the model shall work on; its schema is in `/v1/models`.")
    model: str | None = Field(
        None, min_length=1, max_length=200, description="Name of a model; the default model without it."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of the model; their schema is in `/v1/models`."
    )
    priority: Literal["high", "normal", "low"] = Field("normal", description="Class of service.")
    metadata: Pairs = Field(
        default_factory=dict, description=f"Up to {MAX_PAIRS} pairs of your own, kept with the task."
    )
    requires: Labels = Field(
        default_factory=dict, description="Labels a node must have to run this.", examples=[{"gpu": "true"}]
    )
    timeout: Annotated[float, Field(gt=0, le=MAX_TIMEOUT), IS_NUMBER] | None = Field(
        None, description="Seconds an attempt may run before it fails."
    )
    deadline: Moment | None = Field(
        None, description="When the task is of no use any more: not done by then, it fails and is stopped."
    )
    max_attempts: Annotated[int, Field(ge=1, le=100), IS_NUMBER] | None = Field(
        None,
        description="How often the task may be tried when it fails in a way that may pass.",
    )
    on_disconnect: Literal["cancel", "detach"] = Field(
        "detach",
        description="What becomes of the task when its client goes away while it waits for the answer to the "
        "submission, or reads the events: `cancel` it, or let it go on.",
    )


class TaskError(BaseModel):
    """Why a task failed."""

    code: str = Field(description="Stable name of the kind of error.")
    message: str


class TaskUsage(BaseModel):
    """What the final attempt consumed."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    compute_seconds: float


class TaskSummary(BaseModel):
    """A task as lists show it: without `input` and `output`."""

    id: str
    object: Literal["task"] = "task"
    status: ClientStatus
    model: str
    parameters: dict[str, Any]
    error: TaskError | None
    usage: TaskUsage
    cached: bool = Field(description="Whether the output came from the cache.")
    priority: Literal["high", "normal", "low"]
    requires: dict[str, str]
    wait_reason: str | None = Field(
        description="Why a queued task cannot run yet: `backoff`, `leader`, `concurrency`."
    )
    attempt: int
    errors: int = Field(description="Attempts that failed.")
    max_attempts: int
    timeout: float | None
    deadline: datetime | None
    on_disconnect: Literal["cancel", "detach"]
    dead_letter: bool = Field(description="Whether all attempts are used up.")
    node: str | None = Field(description="Name of the node of the last attempt.")
    metadata: dict[str, str]
    workflow_id: str | None
    batch_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    processing_time_ms: float | None


class TaskView(TaskSummary):
    """A task, whole."""

    input: Any
    output: Any = Field(description="What the model made of it; null until completed.")


class TaskPage(BaseModel):
    """One page of tasks, newest first."""

    data: list[TaskSummary]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")


class TaskEventView(BaseModel):
    """A change of a task's state."""

    id: str = Field(description="`<attempt>-<seq>`", examples=["1-1"])
    type: str = Field(examples=["task.running"])
    task_id: str
    at: datetime
    data: dict[str, Any]


class TaskLog(BaseModel):
    """Everything that happened to a task, oldest first."""

    data: list[TaskEventView]
