"""What the gateway answers, typed. Fields that this release does not know stay in ``raw``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from neurogrid.protocol.events import FINAL, EventId

_FINAL_STATUS = frozenset({"completed", "failed", "canceled"})
_FINAL_TYPES = frozenset(kind.value for kind in FINAL)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a task consumed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    compute_seconds: float = 0.0

    @classmethod
    def parse(cls, value: Mapping[str, Any] | None) -> Usage:
        """Read the JSON object, ``null`` meaning nothing."""
        value = value or {}
        prompt, completion = int(value.get("prompt_tokens") or 0), int(value.get("completion_tokens") or 0)
        return cls(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=int(value.get("total_tokens") or prompt + completion),
            compute_seconds=float(value.get("compute_seconds") or 0.0),
        )


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """Why a task failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stood when it was asked for."""

    id: str
    status: str
    model: str
    input: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    error: TaskFailure | None = None
    usage: Usage = field(default_factory=Usage)
    cached: bool = False
    priority: str | None = None
    attempt: int = 1
    dead_letter: bool = False
    node: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    processing_time_ms: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def finished(self) -> bool:
        """Whether the task is over, in whatever way."""
        return self.status in _FINAL_STATUS

    @property
    def text(self) -> str | None:
        """The text of a text model's output, ``None`` for outputs of other kinds."""
        return self.output.get("text") if isinstance(self.output, dict) else None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Task:
        """Read the gateway's JSON object."""
        error = value.get("error")
        return cls(
            id=value["id"],
            status=value["status"],
            model=value["model"],
            input=value.get("input"),
            parameters=value.get("parameters") or {},
            output=value.get("output"),
            error=TaskFailure(error["code"], error["message"]) if error else None,
            usage=Usage.parse(value.get("usage")),
            cached=bool(value.get("cached")),
            priority=value.get("priority"),
            attempt=int(value.get("attempt") or 1),
            dead_letter=bool(value.get("dead_letter")),
            node=value.get("node"),
            metadata=value.get("metadata") or {},
            created_at=_moment(value.get("created_at")),
            started_at=_moment(value.get("started_at")),
            finished_at=_moment(value.get("finished_at")),
            processing_time_ms=value.get("processing_time_ms"),
            raw=value,
        )


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One live event of a task. ``type`` is a wire name such as ``task.chunk``."""

    id: EventId
    type: str
    task_id: str
    at: datetime
    data: Mapping[str, Any]

    @property
    def final(self) -> bool:
        """Whether the task is over with this event."""
        return self.type in _FINAL_TYPES

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> TaskEvent:
        """Read the event's envelope."""
        return cls(
            id=EventId.parse(value["id"]),
            type=value["type"],
            task_id=value["task_id"],
            at=datetime.fromisoformat(value["at"]),
            data=value.get("data") or {},
        )


@dataclass(frozen=True, slots=True)
class RefusedReplay:
    """A task that is not run again, and why."""

    id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of a request to run tasks again. ``more``: there are further dead letters."""

    replayed: tuple[str, ...]
    refused: tuple[RefusedReplay, ...] = ()
    more: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Replay:
        """Read the gateway's JSON object."""
        refused = (RefusedReplay(row["id"], row["code"], row["detail"]) for row in value["refused"])
        return cls(tuple(value["replayed"]), tuple(refused), bool(value.get("more")), value)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the grid. ``available``: a connected node serves it now."""

    name: str
    version: str = ""
    kind: str = ""
    description: str = ""
    default: bool = False
    available: bool = False
    nodes: tuple[str, ...] = ()
    input_schema: Mapping[str, Any] = field(default_factory=dict, repr=False)
    parameters_schema: Mapping[str, Any] = field(default_factory=dict, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Model:
        """Read the gateway's JSON object."""
        return cls(
            name=value["id"],
            version=value.get("version") or "",
            kind=value.get("kind") or "",
            description=value.get("description") or "",
            default=bool(value.get("default")),
            available=bool(value.get("available")),
            nodes=tuple(value.get("nodes") or ()),
            input_schema=value.get("input_schema") or {},
            parameters_schema=value.get("parameters_schema") or {},
            raw=value,
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the grid. ``connected``: a gateway holds its lease now."""

    id: str
    name: str
    version: str = ""
    state: str = ""
    connected: bool = False
    slots: int = 0
    running: int = 0
    models: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Node:
        """Read the gateway's JSON object."""
        return cls(
            id=value["id"],
            name=value["name"],
            version=value.get("version") or "",
            state=value.get("state") or "",
            connected=bool(value.get("connected")),
            slots=int(value.get("slots") or 0),
            running=int(value.get("running") or 0),
            models=tuple(value.get("models") or ()),
            labels=value.get("labels") or {},
            raw=value,
        )


@dataclass(frozen=True, slots=True)
class NodeToken:
    """A token by which nodes join. ``token`` is its secret, there only when it was made just now.

    ``node`` is the only name, ``models`` the only models that whoever joins by it may have (``None``: any).
    """

    id: str
    name: str
    prefix: str = ""
    node: str | None = None
    models: tuple[str, ...] | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    token: str | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> NodeToken:
        """Read the gateway's JSON object."""
        models = value.get("models")
        return cls(
            id=value["id"],
            name=value["name"],
            prefix=value.get("prefix") or "",
            node=value.get("node"),
            models=None if models is None else tuple(models),
            created_at=_moment(value.get("created_at")),
            expires_at=_moment(value.get("expires_at")),
            revoked_at=_moment(value.get("revoked_at")),
            last_used_at=_moment(value.get("last_used_at")),
            token=value.get("token"),
            raw=value,
        )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
