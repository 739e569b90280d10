"""Drills that have to fail: each runs on a grid without one of its protections."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurogrid.core.sabotage import VARIABLE, Protection
from neurogrid.drill.exercise import Exercise, Order, Watch
from neurogrid.drill.harm.plan import Deck, Kind
from neurogrid.drill.harm.scene import Tell
from neurogrid.drill.report import Report
from neurogrid.drill.verdict import Kind as Loss

SECONDS = 12.0
SETTLE = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What is taken away, what happens then, and what has to come of it (any of ``expected``)."""

    protection: Protection
    deck: Deck
    expected: frozenset[Loss]
    environment: Mapping[str, str] = field(default_factory=dict)


HASTE = {
    "NEUROGRID_GRID__LEASE": "1.5",
    "NEUROGRID_GRID__HEARTBEAT": "0.4",
    "NEUROGRID_GRID__RECONCILE": "0.5",
    "NEUROGRID_GRID__SWEEP": "0.5",
}
"""Leases that nearly every pause outlives."""

TRIALS = (
    Trial(
        Protection.FENCE,
        {Kind.PART_NODE: 1, Kind.PAUSE_NODE: 1},
        frozenset({Loss.FINISHED_TWICE, Loss.LOST}),
        HASTE,
    ),
    Trial(Protection.LEASE, {Kind.KILL_NODE: 1}, frozenset({Loss.STUCK})),
    Trial(Protection.COMMIT, {Kind.KILL_GATEWAY_AT_COMMIT: 1}, frozenset({Loss.LOST})),
    Trial(Protection.RESUME, {Kind.CUT_NODE: 1}, frozenset({Loss.STREAM_GAPS})),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a drill made of a grid without ``trial.protection``."""

    trial: Trial
    report: Report

    @property
    def noticed(self) -> bool:
        """Whether the drill reported a loss of the kind that had to come."""
        return any(self.report.verdict.count(kind) for kind in self.trial.expected)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "protection": self.trial.protection.value,
            "noticed": self.noticed,
            **self.report.as_json(),
        }


async def self_test(
    directory: Path,
    seed: int,
    watch: Watch,
    tell: Tell,
    done: Callable[[Outcome], None],
    only: Collection[Protection],
    rate: float,
) -> None:
    """Run the trials of ``only`` these protections below ``directory``, at ``rate`` tasks a second.

    ``done`` is told each outcome.
    """
    for trial in TRIALS:
        if trial.protection not in only:
            continue
        tell(f"without {trial.protection}:")
        order = Order(
            directory / trial.protection.value,
            seed,
            SECONDS,
            rate=rate,
            settle=SETTLE,
            deck=trial.deck,
            environment={VARIABLE: trial.protection.value, **trial.environment},
        )
        order.directory.mkdir(parents=True)
        done(Outcome(trial, await Exercise(order, watch, tell).run()))
