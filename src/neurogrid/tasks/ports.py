"""What tasks need of the features above them, as protocols that ``app`` fills in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from neurogrid.auth.policy import Identity
from neurogrid.protocol.messages import ModelSpec
from neurogrid.queue.answers import Canceled, Inserted
from neurogrid.queue.ops import Insert, SessionRef
from neurogrid.tasks.forecast import Server


class Model(Protocol):
    """A model of the catalogue."""

    @property
    def spec(self) -> ModelSpec:
        """What its nodes say of it."""

    def validate(self, input: Any, parameters: dict[str, Any]) -> None:
        """Check a task. Raises ``Invalid`` that names each wrong field."""


class Models(Protocol):
    """The catalogue."""

    async def model(self, name: str) -> Model:
        """Return a model. Raises ``UnknownModel``."""


class Fleet(Protocol):
    """The nodes."""

    async def serving(self, model: str) -> Sequence[Server]:
        """Return the nodes that have ``model``."""


class Budget(Protocol):
    """How much an owner may have done."""

    async def reserve(self, actor: Identity, task: str, tokens: int) -> None:
        """Reserve tokens for a task. Raises ``LimitExceeded``."""

    def at_once(self, actor: Identity) -> int | None:
        """Return how many tasks of ``actor`` run together at most; ``None``: any number."""

    def release(self, task: str) -> None:
        """Give back all that was reserved for a task that will not run."""


class Allowance(Protocol):
    """What a user may have in a month."""

    async def admit(self, actor: Identity, tasks: int = 1) -> None:
        """Count ``tasks`` more. Raises ``QuotaExceeded``."""


class Dispatching(Protocol):
    """Brings tasks to nodes."""

    async def lane(self, model: str, requires: dict[str, str]) -> str:
        """Return the lane of tasks for ``model`` that require these labels; it is known from then on."""

    def price(self, owner: str, lane: str, priority: int, cost: float) -> tuple[float, float]:
        """Return what a task costs its owner after corrections, and the virtual time of its queue (R17)."""

    def present(self, lane: str, priority: int) -> float:
        """Return the virtual time of a lane and class (R17)."""

    def reserve(self, lane: str) -> SessionRef | None:
        """Hold a free slot of a node of this gateway for a task about to be inserted (R17)."""

    def inserted(self, op: Insert, answer: Inserted | None) -> None:
        """Take up a task after its commit; ``None``: it was not inserted, the slot is free again."""

    async def stopped(self, answer: Canceled) -> None:
        """Stop a cancelled task wherever it runs."""

    def arrived(self, lane: str) -> None:
        """Note that a task waits in ``lane`` to be claimed."""
