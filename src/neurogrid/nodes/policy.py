"""What operators may want of a node, and what a join token lets it be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from neurogrid.core.errors import FieldError, Forbidden
from neurogrid.protocol.messages import Hello

MAX_SHOWN = 60
"""Characters of a name in a refusal: the reason of a WebSocket close has 123 bytes."""


class NodeState(StrEnum):
    """What operators want of a node, whether it is connected or not."""

    ACTIVE = "active"
    """It takes tasks."""
    CORDONED = "cordoned"
    """It finishes what it has and takes nothing new."""
    DRAINING = "draining"
    """The same, and it leaves: at its deadline it hands back what it has not finished."""


FROM: Final[Mapping[NodeState, frozenset[NodeState]]] = {
    NodeState.ACTIVE: frozenset({NodeState.CORDONED, NodeState.DRAINING}),
    # A draining node takes nothing new either, and goes on to leave.
    NodeState.CORDONED: frozenset({NodeState.ACTIVE}),
    # The deadline counts from the first order.
    NodeState.DRAINING: frozenset({NodeState.ACTIVE, NodeState.CORDONED}),
}
"""For each state an operator can order: the states in which the order changes anything."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a registered node stands; ``drain_until`` belongs to ``DRAINING``."""

    id: str
    state: NodeState
    drain_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """The token by which a node joins, and what it may be: ``None`` stands for any."""

    token: str
    node: str | None = None
    models: frozenset[str] | None = None

    def check(self, hello: Hello) -> None:
        """Compare with what a node says of itself. Raises ``Forbidden``."""
        if self.node is not None and hello.name != self.node:
            msg = f"This token is for a node of the name {self.node[:MAX_SHOWN]}."
            raise Forbidden(msg, errors=[FieldError("name", msg)])
        if self.models is None:
            return
        extra = sorted({spec.name for spec in hello.models} - self.models)
        if extra:
            msg = f"This token does not allow the model {extra[0][:MAX_SHOWN]}."
            raise Forbidden(msg, errors=[FieldError("models", msg)])
