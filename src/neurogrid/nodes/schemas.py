"""What clients see of nodes and models."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from neurogrid.core.errors import GridError


class UnknownModel(GridError):
    """The grid has no such model."""

    code, status, title = "unknown_model", 422, "Unknown model"


class NodeView(BaseModel):
    """A node of the grid."""

    id: str
    object: Literal["node"] = "node"
    name: str
    version: str
    state: str = Field(description="`active`, `cordoned` or `draining`.")
    connected: bool = Field(description="Whether its lease is current on any gateway.")
    slots: int
    running: int = Field(description="Tasks it runs now.")
    models: list[str]
    labels: dict[str, str]
    registered_at: datetime
    seen_at: datetime


class NodeList(BaseModel):
    """All nodes."""

    data: list[NodeView]


class ModelView(BaseModel):
    """A model of the grid; an OpenAI model object with more in it."""

    id: str = Field(examples=["smollm2-135m"])
    object: Literal["model"] = "model"
    created: int = Field(description="When the grid first saw it, in seconds since 1970.")
    owned_by: str = "neurogrid"
    version: str
    kind: str = Field(examples=["text-generation"])
    description: str
    default: bool = Field(description="Whether a task that names no model gets this one.")
    available: bool = Field(description="Whether a connected node serves it now.")
    nodes: list[str]
    streams: bool
    deterministic: bool
    input_schema: dict[str, Any] = Field(description="JSON Schema of a task's `input`.")
    parameters_schema: dict[str, Any] = Field(description="JSON Schema of a task's `parameters`.")
    example_input: Any = None


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelView]


class NewToken(BaseModel):
    """What a node token is called."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("node", min_length=1, max_length=200)


class TokenView(BaseModel):
    """A fresh node token, shown this once."""

    id: str
    name: str
    token: str
