"""Placement: filter, then score. Pure functions over plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """What a lane's tasks ask of a node."""

    lane: str
    model: str
    requires: Mapping[str, str]


class Candidate(Protocol):
    """A node as placement sees it."""

    @property
    def accepting(self) -> bool:
        """Whether it takes new tasks."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""

    def free(self, model: str) -> int:
        """Free slots for ``model``; 0 when it does not serve it."""

    @property
    def load(self) -> float:
        """Share of its slots in use."""


_Node = TypeVar("_Node", bound=Candidate)


def eligible(node: Candidate, lane: LaneSpec) -> bool:
    """Tell whether ``node`` may run a task of ``lane`` now."""
    return node.accepting and node.free(lane.model) > 0 and satisfies(node.labels, lane.requires)


def satisfies(labels: Mapping[str, str], requires: Mapping[str, str]) -> bool:
    """Tell whether a node's labels meet a task's requirements."""
    return all(labels.get(key) == value for key, value in requires.items())


def time_allowed(timeout: float | None, left: float | None) -> float | None:
    """Return how many seconds an attempt may run: no longer than its time-out, and not past the deadline.

    ``left`` are the seconds before the deadline; where they are used up there is nothing to run for.
    """
    return min((limit for limit in (timeout, left) if limit is not None), default=None)


def seconds_left(deadline: datetime | None, now: datetime) -> float | None:
    """Return the seconds from ``now`` to ``deadline``, negative when it has passed."""
    return None if deadline is None else (deadline - now).total_seconds()


def choose(nodes: Iterable[_Node], lane: LaneSpec) -> _Node | None:
    """Return the least loaded node that may run a task of ``lane``."""
    return min((node for node in nodes if eligible(node, lane)), key=lambda node: node.load, default=None)
