"""The state machine of a task and the rules of retry: pure tables and functions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Status(StrEnum):
    """Where a task stands. Clients see ``waiting`` as ``queued`` with a reason."""

    QUEUED = "queued"
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


NEXT: Final[dict[Status, frozenset[Status]]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.WAITING, Status.FAILED, Status.CANCELED}),
    Status.WAITING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELED}),
    Status.RUNNING: frozenset(
        {Status.QUEUED, Status.WAITING, Status.COMPLETED, Status.FAILED, Status.CANCELED}
    ),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELED: frozenset({Status.QUEUED}),
}
"""Legal moves; from a final state only replay leads back."""

FINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})
LIVE: Final = frozenset(Status) - FINAL


class IllegalTransition(Exception):
    """A move the state machine does not know."""


def advance(now: Status, to: Status) -> Status:
    """Return ``to`` if a task may move there from ``now``. Raises ``IllegalTransition``."""
    if to not in NEXT[now]:
        msg = f"a {now} task cannot become {to}"
        raise IllegalTransition(msg)
    return to


class Priority(IntEnum):
    """Priority classes; the lower number is served first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Charge(StrEnum):
    """What the end of an attempt costs (R1)."""

    NONE = "none"
    ERROR = "error"
    LOSS = "loss"


class WaitReason(StrEnum):
    """Why a task is ``waiting``, as clients read it."""

    BACKOFF = "backoff"
    SCHEDULE = "schedule"
    LEADER = "leader"
    DEPENDENCIES = "dependencies"
    CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class Charges:
    """What a task has used up so far."""

    errors: int
    losses: int
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Again:
    """Where a task goes after an attempt that did not finish it: ``delay`` is in seconds."""

    status: Status
    charge: Charge
    delay: float = 0.0
    late: bool = False
    """No further attempt could begin before the deadline."""

    @property
    def dead(self) -> bool:
        """Whether the task has used up its charges."""
        return self.status is Status.FAILED and not self.late


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter on its upper half, and the bounds of R1."""

    base: float = 1.0
    longest: float = 300.0
    max_losses: int = 5

    def after(
        self, charge: Charge, charges: Charges, *, left: float | None = None, jitter: float | None = None
    ) -> Again:
        """Say where a task goes after an attempt charged with ``charge``.

        ``left`` are the seconds before its deadline; an error that leaves no time for another attempt ends
        the task at once. ``jitter`` in [0, 1) replaces the random one.
        """
        if charge is Charge.NONE:
            return Again(Status.QUEUED, charge)
        if charge is Charge.LOSS:
            dead = charges.losses + 1 >= self.max_losses
            return Again(Status.FAILED if dead else Status.QUEUED, charge)
        if left is not None and left <= 0:
            return Again(Status.FAILED, charge, late=True)
        if charges.errors + 1 >= charges.max_attempts:
            return Again(Status.FAILED, charge)
        share = 0.5 + (random.random() if jitter is None else jitter) / 2  # noqa: S311 - no secret
        delay = min(self.base * 2.0**charges.errors, self.longest) * share
        if left is not None and delay >= left:
            return Again(Status.FAILED, charge, late=True)
        return Again(Status.WAITING, charge, delay)


def lane_of(model: str, requires_hash: str | None) -> str:
    """Return the lane of tasks for ``model`` whose requirements hash to ``requires_hash`` (R15)."""
    return f"{model}#{requires_hash}" if requires_hash else model
