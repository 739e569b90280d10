"""Why a task waits, and when it may begin (GRID-12)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from neurogrid.tasks.forecast import ENOUGH_HISTORY, Expectation, Queue, Reason, done, expect, why
from neurogrid.tasks.policy import AGED_EVERY


@dataclass(frozen=True)
class Node:
    """A node as forecasts see it."""

    labels: dict[str, str] = field(default_factory=dict)
    connected: bool = True
    accepting: bool = True
    slots: int = 1
    room: int = 99


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
        ([Node(slots=4, room=0)], {}, IDLE, Reason.NO_SLOT),
        ([Node(slots=4, room=1)], {}, Queue(0, 0, 2, ()), Reason.STARTING),
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


@pytest.mark.parametrize("ahead_within", [2, 5, 20])
def test_the_lowest_class_begins_in_its_turn_by_age(ahead_within: int) -> None:
    """R17: behind a crowd of a higher class, every tenth claim is what a task of the lowest class waits for."""
    chance = random.Random(7)
    queue = Queue(1000, 0, 1, [1.0] * 50, ahead_within)
    found = expect([Node()], {}, queue)
    assert found is not None
    starts = sorted(chance.randint(1, AGED_EVERY) + AGED_EVERY * ahead_within - 0.5 for _ in range(400))
    assert found.p50 / 2 <= starts[200] <= found.p50 * 2
    assert found.earliest <= starts[0]
    assert starts[350] <= found.p90


def test_age_never_makes_a_task_wait_longer() -> None:
    """R17: where the turn by rank comes first, ageing changes nothing."""
    by_rank = expect([Node()], {}, Queue(3, 0, 1, [1.0] * 50))
    assert expect([Node()], {}, Queue(3, 0, 1, [1.0] * 50, ahead_within=2)) == by_rank


def test_little_history_says_nothing_of_the_end() -> None:
    """From a few runs nobody can tell that a task will not be done in time."""
    start = Expectation(10.0, 12.0, 5.0)
    assert done(start, [1.0] * (ENOUGH_HISTORY - 1)) is None
    end = done(start, [1.0, 9.0] * ENOUGH_HISTORY)
    assert end is not None
    assert (end.earliest, end.likely) == (5.5, 21.0)


def test_the_earliest_start_is_doubted() -> None:
    """What is ruled out lies below half of what is expected, and below where one task in ten begins."""
    steady = expect([Node()], {}, Queue(99, 0, 1, [1.0] * 50))
    assert steady is not None
    assert steady.earliest == steady.p50 / 2
    wild = expect([Node()], {}, Queue(3, 0, 1, [0.1, 9.0] * 50))
    assert wild is not None
    assert 0.0 <= wild.earliest < wild.p50 / 2
