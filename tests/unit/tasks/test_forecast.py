"""Why a task waits, and when it may begin (GRID-12)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from neurogrid.tasks.forecast import Queue, Reason, expect, why


@dataclass(frozen=True)
class Node:
    """A node as forecasts see it."""

    labels: dict[str, str] = field(default_factory=dict)
    connected: bool = True
    accepting: bool = True
    slots: int = 1


IDLE = Queue(0, 0, 0, ())


@pytest.mark.parametrize(
    ("servers", "requires", "queue", "reason"),
    [
        ([], {}, IDLE, Reason.NO_NODE),
        ([Node(connected=False, accepting=False)], {}, IDLE, Reason.NO_NODE),
        ([Node(accepting=False)], {}, IDLE, Reason.NO_NODE),
        ([Node()], {"gpu": "true"}, IDLE, Reason.REQUIREMENT_UNMET),
        ([Node({"gpu": "true"}, accepting=False), Node()], {"gpu": "true"}, IDLE, Reason.REQUIREMENT_UNMET),
        ([Node({"gpu": "true"})], {"gpu": "true"}, IDLE, Reason.STARTING),
        ([Node()], {}, Queue(0, 0, 1, ()), Reason.NO_SLOT),
        ([Node()], {}, Queue(3, 2, 1, ()), Reason.OTHER_OWNERS),
        ([Node()], {}, Queue(0, 2, 1, ()), Reason.OWN_TASKS),
    ],
)
def test_the_real_reason_is_named(
    servers: list[Node], requires: dict[str, str], queue: Queue, reason: Reason
) -> None:
    """Each state of nodes and queue has the one reason that, taken away, would let the task go on."""
    assert why(servers, requires, queue) is reason


def test_nothing_is_expected_without_a_node() -> None:
    """Where no node can run a task there is no time at which it begins."""
    assert expect([Node()], {"gpu": "true"}, IDLE) is None


def test_a_free_slot_begins_at_once() -> None:
    """As many tasks as there are free slots begin now."""
    found = expect([Node(slots=4)], {}, Queue(2, 0, 1, (5.0,)))
    assert found is not None
    assert (found.p50, found.p90) == (0.0, 0.0)


@pytest.mark.parametrize(("ahead", "slots"), [(0, 1), (7, 1), (30, 4), (100, 8)])
def test_the_expected_start_is_within_a_factor_of_two(ahead: int, slots: int) -> None:
    """On a simulated grid with a known backlog the median start lies within a factor of two of the forecast."""
    chance = random.Random(7)
    durations = [chance.uniform(0.5, 1.5) for _ in range(200)]
    found = expect([Node(slots=slots)], {}, Queue(ahead, 0, slots, durations))
    assert found is not None
    starts = sorted(_simulated_start(chance, durations, ahead, slots) for _ in range(400))
    assert found.p50 / 2 <= starts[200] <= found.p50 * 2
    assert found.p50 < found.p90
    assert starts[360] <= found.p90 * 2


def _simulated_start(chance: random.Random, durations: list[float], ahead: int, slots: int) -> float:
    ends = [chance.choice(durations) * chance.random() for _ in range(slots)]
    for _ in range(ahead):
        first = min(ends)
        ends.remove(first)
        ends.append(first + chance.choice(durations))
    return min(ends)
