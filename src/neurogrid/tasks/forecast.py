"""Why a task waits, and when it may begin: pure, over plain figures (GRID-12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import mean, pstdev, quantiles
from typing import Final, Protocol

from neurogrid.tasks.policy import AGED_EVERY

DEFAULT_SECONDS: Final = 1.0
"""How long a task of a model without history is taken to run."""
DOUBT: Final = 2.0
"""The factor within which forecasts are right."""
ENOUGH_HISTORY: Final = 20
"""Runs of a model from which on something is refused because of them."""
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

    @property
    def room(self) -> int:
        """Tasks of any model it could begin now."""


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
    """What lies before a task: those ahead of it, by whose they are, those that run, and past durations.

    ``ahead_within`` are those ahead of it in its own class if that is the lowest in use, which ageing serves
    every now and then; ``None`` if it is not.
    """

    ahead_of_others: int
    ahead_of_own: int
    running: int
    durations: Sequence[float]
    ahead_within: int | None = None

    @property
    def ahead(self) -> int:
        """All tasks that go first."""
        return self.ahead_of_others + self.ahead_of_own

    @property
    def turns(self) -> tuple[float, float]:
        """The claims after which the task has begun, and by how many that may be off.

        It is its turn by rank or, where that comes first, by age; where the count of claims stands between two
        that begin with the lowest class is not known.
        """
        by_rank = self.ahead + 1
        if self.ahead_within is None or by_rank <= AGED_EVERY * (self.ahead_within + 0.5):
            return by_rank, 0.0
        return AGED_EVERY * (self.ahead_within + 0.5), AGED_EVERY * 0.4


@dataclass(frozen=True, slots=True)
class Expectation:
    """Seconds until a task begins: as often sooner as later, and sooner nine times out of ten.

    ``earliest`` is what it will hardly begin before, with all the doubt that a forecast deserves.
    """

    p50: float
    p90: float
    earliest: float = 0.0


@dataclass(frozen=True, slots=True)
class End:
    """Seconds until a task is done: hardly before ``earliest``, most likely by ``likely``."""

    earliest: float
    likely: float


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
    return Reason.STARTING if _free(fit, queue) > 0 else Reason.NO_SLOT


def _free(fit: Sequence[Server], queue: Queue) -> int:
    """Return the slots for a task of this model that nobody holds, other models' tasks included."""
    slots = sum(server.slots for server in fit)
    return max(0, min(slots - queue.running, sum(min(server.slots, server.room) for server in fit)))


def expect(servers: Sequence[Server], requires: Mapping[str, str], queue: Queue) -> Expectation | None:
    """Return when a task would begin; ``None`` while no node can run it.

    With ``s`` slots that are all taken, the task begins at the end of as many tasks as it takes turns. Running
    ones are on average half done, so the first end comes after ``d / 2s``, and each further one ``d / s``
    later. The spread is that of the sum of so many durations.
    """
    fit = suitable(servers, requires)
    slots = sum(server.slots for server in fit)
    if not slots:
        return None
    turns, off = queue.turns
    ends = turns - _free(fit, queue)
    if ends <= 0:
        return Expectation(0.0, 0.0)
    durations = queue.durations or (DEFAULT_SECONDS,)
    p50 = mean(durations) * max(ends - 0.5, 0.5) / slots
    spread = (Z90 * pstdev(durations) * ends**0.5 + mean(durations) * off) / slots
    return Expectation(p50, p50 + spread, max(0.0, min(p50 / DOUBT, p50 - spread)))


def done(start: Expectation, durations: Sequence[float]) -> End | None:
    """Return when a task that begins by ``start`` would be done; ``None`` while too little is known.

    The model's shortest run stands for this one at its best, and even that is doubted: inputs differ.
    """
    if len(durations) < ENOUGH_HISTORY:
        return None
    return End(start.earliest + min(durations) / DOUBT, start.p90 + quantiles(durations, n=10)[-1])
