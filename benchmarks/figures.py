"""A measured figure: its value, how it spreads, what it is compared with and what it should be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.http_load import Round


@dataclass(frozen=True, slots=True)
class Spread:
    """How samples lie, in the unit of their figure."""

    samples: int
    mean: float
    median: float
    min: float
    max: float
    stdev: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Describe ``samples``, of which there is at least one."""
        ordered = sorted(samples)
        return cls(
            len(ordered),
            statistics.fmean(ordered),
            statistics.median(ordered),
            ordered[0],
            ordered[-1],
            statistics.pstdev(ordered),
            _quantile(ordered, 0.50),
            _quantile(ordered, 0.95),
            _quantile(ordered, 0.99),
        )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach; ``of`` names the attribute of ``Figure`` that it is about."""

    of: str
    bound: float
    text: str
    at_most: bool = False


@dataclass(slots=True)
class Figure:
    """One line of the report.

    ``value`` is the median of the rounds and ``best`` the best of them, in ``unit``. ``cpu_us`` and ``best_cpu_us``
    are microseconds of CPU that the server spends on one request. ``ratio`` and ``cpu_ratio`` compare with
    ``against``, measured in turns with this figure: the median of the rounds' ratios.
    ``spread`` is of latencies or other samples, in ``spread_unit``.
    """

    group: str
    name: str
    grid: str
    value: float
    unit: str
    best: float | None = None
    cpu_us: float | None = None
    best_cpu_us: float | None = None
    other_cpu_us: float | None = None
    against: str = ""
    reference: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    spread: Spread | None = None
    spread_unit: str = "ms"
    goals: tuple[Goal, ...] = ()
    errors: int = 0
    more: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it in every run."""
        return self.group, self.name, self.grid

    def reaches(self, goal: Goal) -> bool:
        """Tell whether one of its goals is reached."""
        value: float = getattr(self, goal.of)
        return value <= goal.bound if goal.at_most else value >= goal.bound

    def as_json(self) -> dict[str, Any]:
        """Return everything, without what is empty."""
        found = {name: value for name, value in asdict(self).items() if value not in (None, "", {}, ())}
        if self.goals:
            found["goals"] = [{"text": goal.text, "reached": self.reaches(goal)} for goal in self.goals]
        return found


def of_rounds(
    group: str,
    name: str,
    grid: str,
    rounds: Sequence[Round],
    bare: Sequence[Round],
    *,
    goals: tuple[Goal, ...] = (),
    unit: str = "requests/s",
) -> Figure:
    """Sum up rounds that were measured in turns with ``bare``, the bare route's."""
    pairs = list(zip(rounds, bare, strict=True))
    latencies = [latency * 1000 for one in rounds for latency in one.latencies]
    return Figure(
        group,
        name,
        grid,
        statistics.median(one.rate for one in rounds),
        unit,
        best=max(one.rate for one in rounds),
        cpu_us=statistics.median(one.cpu_us for one in rounds),
        best_cpu_us=min(one.cpu_us for one in rounds),
        other_cpu_us=statistics.median(one.other_cpu / one.requests * 1e6 for one in rounds),
        against="bare FastAPI route",
        reference=statistics.median(one.rate for one in bare),
        ratio=statistics.median(ours.rate / theirs.rate for ours, theirs in pairs),
        cpu_ratio=statistics.median(ours.cpu_us / theirs.cpu_us for ours, theirs in pairs),
        spread=Spread.of(latencies) if latencies else None,
        goals=goals,
        errors=sum(one.errors for one in rounds),
        more={"reference_cpu_us": statistics.median(one.cpu_us for one in bare)},
    )
