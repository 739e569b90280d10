"""Why a task waits, and when it may begin: pure, over plain figures (GRID-12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import mean, pstdev
from typing import Final, Protocol

DEFAULT_SECONDS: Final = 1.0
"""How long a task of a model without history is taken to run."""
Z90: Final = 1.2816
"""The 90th percentile of the standard normal distribution, in standard deviations."""


class Server(Protocol):
    """A node that has the model."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""

    @property
    def connected(self) -> bool:
        """Whether it is there."""

    @property
    def accepting(self) -> bool:
        """Whether it takes new tasks."""

    @property
    def slots(self) -> int:
        """Tasks of the model it runs at once."""


class Reason(StrEnum):
    """Why a queued task does not run yet."""

    NO_NODE = "no_node"
    REQUIREMENT_UNMET = "requirement_unmet"
    NO_SLOT = "no_slot"
    OTHER_OWNERS = "other_owners"
    OWN_TASKS = "own_tasks"
    STARTING = "starting"


SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.NO_NODE: "No connected node that takes tasks has the model.",
    Reason.REQUIREMENT_UNMET: "No connected node that has the model has the labels the task requires.",
    Reason.NO_SLOT: "The task is next; every slot is taken.",
    Reason.OTHER_OWNERS: "Tasks of others go first: it is their share, or their priority is higher.",
    Reason.OWN_TASKS: "Other tasks of yours go first.",
    Reason.STARTING: "The task is next, and a slot is free: it begins now.",
}


@dataclass(frozen=True, slots=True)
class Queue:
    """What lies before a task: those ahead of it, by whose they are, those that run, and past durations."""

    ahead_of_others: int
    ahead_of_own: int
    running: int
    durations: Sequence[float]

    @property
    def ahead(self) -> int:
        """All tasks that go first."""
        return self.ahead_of_others + self.ahead_of_own


@dataclass(frozen=True, slots=True)
class Expectation:
    """Seconds until a task begins: as often sooner as later, and sooner nine times out of ten."""

    p50: float
    p90: float


def suitable(servers: Sequence[Server], requires: Mapping[str, str]) -> list[Server]:
    """Return the servers that may be given a task now."""
    return [
        server
        for server in servers
        if server.accepting and all(server.labels.get(key) == value for key, value in requires.items())
    ]


def why(servers: Sequence[Server], requires: Mapping[str, str], queue: Queue) -> Reason:
    """Return why a queued task does not run yet."""
    fit = suitable(servers, requires)
    if not fit:
        unmet = any(server.accepting for server in servers)
        return Reason.REQUIREMENT_UNMET if unmet else Reason.NO_NODE
    if queue.ahead_of_others:
        return Reason.OTHER_OWNERS
    if queue.ahead_of_own:
        return Reason.OWN_TASKS
    free = sum(server.slots for server in fit) - queue.running
    return Reason.STARTING if free > 0 else Reason.NO_SLOT


def expect(servers: Sequence[Server], requires: Mapping[str, str], queue: Queue) -> Expectation | None:
    """Return when a task would begin; ``None`` while no node can run it.

    With ``s`` slots that are all taken, the task begins at the ``ahead + 1``-th end of a task. Running ones are
    on average half done, so the first end comes after ``d / 2s``, and each further one ``d / s`` later. The
    spread is that of the sum of so many durations.
    """
    slots = sum(server.slots for server in suitable(servers, requires))
    if not slots:
        return None
    ends = queue.ahead + 1 - max(slots - queue.running, 0)
    if ends <= 0:
        return Expectation(0.0, 0.0)
    durations = queue.durations or (DEFAULT_SECONDS,)
    average = mean(durations)
    p50 = average * (ends - 0.5) / slots
    spread = pstdev(durations) * (ends**0.5) / slots
    return Expectation(p50, max(p50, p50 + Z90 * spread))
