"""What clients see of nodes and models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neurogrid.core.errors import GridError
from neurogrid.core.http.moments import Moment
from neurogrid.core.http.numbers import IS_NUMBER
from neurogrid.nodes.policy import NodeState

MAX_DRAIN = 24 * 3600.0
MAX_LIFETIME = 10 * 366 * 24 * 3600.0


class UnknownModel(GridError):
    """The grid has no such model."""

    code, status, title = "unknown_model", 422, "Unknown model"


class NodeView(BaseModel):
    """A node of the grid."""

    id: str
    object: Literal["node"] = "node"
    name: str
    version: str
    state: NodeState = Field(description="What operators want of it, whether it is connected or not.")
    drain_until: datetime | None = Field(description="When a draining node has to be gone.")
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


class DrainOrder(BaseModel):
    """How long a node may take to leave."""

    model_config = ConfigDict(extra="forbid")

    deadline_s: Annotated[float, Field(ge=0, le=MAX_DRAIN), IS_NUMBER] = Field(
        30.0, description="Seconds until it hands back what it has not finished."
    )


ModelName = Annotated[str, Field(min_length=1, max_length=200)]


class NewToken(BaseModel):
    """What a node token is called, how long it holds, and which nodes it lets in."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("node", min_length=1, max_length=200)
    expires_in_s: Annotated[float, Field(gt=0, le=MAX_LIFETIME), IS_NUMBER] | None = Field(
        None, description="Seconds that it holds; without end by default."
    )
    expires_at: Moment | None = Field(None, description="The same as a moment.")
    node: str | None = Field(
        None, min_length=1, max_length=200, description="The only name a node that joins by it may have."
    )
    models: list[ModelName] | None = Field(
        None, min_length=1, max_length=100, description="The only models that such a node may serve."
    )

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_in_s is not None and self.expires_at is not None:
            msg = "give `expires_in_s` or `expires_at`, not both"
            raise ValueError(msg)
        return self


class TokenView(BaseModel):
    """A node token without its secret."""

    id: str
    object: Literal["node_token"] = "node_token"
    name: str
    prefix: str = Field(description="How the token begins.", examples=["ngn_8GkT2mXw"])
    node: str | None = Field(description="The only name a node that joins by it may have.")
    models: list[str] | None = Field(description="The only models that such a node may serve.")
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = Field(None, description="When a node last joined by it.")


class TokenList(BaseModel):
    """All node tokens, the newest first."""

    data: list[TokenView]


class FreshToken(TokenView):
    """A new node token with its secret, shown this once."""

    token: str
