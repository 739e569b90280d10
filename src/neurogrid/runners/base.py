"""What a model is to a node: something with a spec that can be loaded, run and closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from neurogrid.protocol.messages import ModelSpec, Usage


class ModelUnavailable(Exception):
    """The model cannot be served on this machine; the text says why and what would help."""


class TaskError(Exception):
    """The task failed in a way its owner should read. ``retryable`` says whether another try may help."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Output:
    """A finished run: ``value`` is anything JSON can say, or JSON already encoded (``msgspec.Raw``)."""

    value: Any
    usage: Usage = Usage()


class Emit(Protocol):
    """How a run speaks while it runs. Every call is also a sign of life (R5).

    Calls wait while the connection is congested, so a fast model cannot outrun its readers' buffers.
    """

    @property
    def attempt(self) -> int:
        """Which attempt at the task this run is, counted from 1."""

    async def chunk(self, data: Any) -> None:
        """Send a piece of output; for text ``{"text": …}``."""

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the run is."""

    async def metric(self, **figures: float) -> None:
        """Send named figures of a step."""

    async def log(self, message: str, level: str = "info") -> None:
        """Write a line to the task's log."""

    def alive(self) -> None:
        """Give a sign of life without sending anything."""


class Runner(Protocol):
    """One model. ``run`` may be called concurrently up to ``spec.slots`` times and must stop when cancelled."""

    spec: ModelSpec

    async def load(self) -> None:
        """Make ready to run. Raises ``ModelUnavailable``."""

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Run one task; cancellation of the coroutine must stop the work. Raises ``TaskError``."""

    async def close(self) -> None:
        """Let go of everything; idempotent."""
