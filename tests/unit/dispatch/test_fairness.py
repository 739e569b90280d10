"""The clocks of fair queueing (R16, R17)."""

from __future__ import annotations

import pytest

from neurogrid.dispatch.fairness import FLOOR_AGE, UNFLOORED_EVERY, FairClock
from neurogrid.tasks.policy import AGED_EVERY


class Time:
    """A clock that moves when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_virtual_time_never_goes_back() -> None:
    """R17: whatever is merged or served late, a lane's time only rises, class by class."""
    clock = FairClock(Time())
    clock.served("lane", 1, 5.0)
    clock.served("lane", 1, 3.0)
    clock.merge({("lane", 1): 4.0, ("lane", 2): 7.0})
    assert clock.price("ada", "lane", 1, 1.0) == (1.0, 5.0)
    assert clock.price("ada", "lane", 2, 1.0) == (1.0, 7.0)
    assert clock.take_changes() == {("lane", 1): 5.0}
    assert clock.take_changes() == {}


def test_what_a_task_really_cost_is_settled_with_the_next() -> None:
    """R17: an estimate too high is given back, one too low is charged, to that owner alone."""
    clock = FairClock(Time())
    clock.settled("ada", "lane", 1, cost=100.0, actual=40.0)
    assert clock.price("eve", "lane", 1, 100.0)[0] == 100.0
    assert clock.price("ada", "lane", 1, 100.0)[0] == 40.0
    clock.settled("ada", "lane", 1, cost=10.0, actual=30.0)
    assert clock.price("ada", "lane", 1, 100.0)[0] == 120.0
    assert clock.price("ada", "lane", 1, 100.0)[0] == 100.0


def test_nothing_is_free_and_no_credit_is_lost() -> None:
    """R17: however much an owner was overcharged, each task costs something; the rest is given back later."""
    clock = FairClock(Time())
    clock.settled("ada", "lane", 1, cost=1000.0, actual=850.0)
    charged = [clock.price("ada", "lane", 1, 100.0)[0] for _ in range(3)]
    assert charged == [pytest.approx(5.0), pytest.approx(45.0), pytest.approx(100.0)]


def test_a_model_that_counts_no_tokens_is_taken_at_its_estimate() -> None:
    """R17: no usage is no discount."""
    clock = FairClock(Time())
    clock.settled("ada", "lane", 1, cost=1.0, actual=0.0)
    assert clock.price("ada", "lane", 1, 1.0)[0] == 1.0


def test_floors_lie_in_the_past() -> None:
    """R16: a claim looks from the rank served ten seconds ago, and at everything every thirty seconds."""
    time = Time()
    clock = FairClock(time)
    assert clock.floors("lane") == (0.0, 0.0, 0.0)
    for second in range(int(UNFLOORED_EVERY)):
        clock.merge({("lane", 1): float(second)})
        expected = max(0.0, second - FLOOR_AGE)
        assert clock.floors("lane") == (0.0, expected, 0.0)
        time.now += 1
    assert clock.floors("lane") == (0.0, 0.0, 0.0)
    assert clock.floors("lane") != (0.0, 0.0, 0.0)


def test_what_lies_below_the_floor_is_fetched_at_once() -> None:
    """R16: where a claim that looked at everything found something below the floor, the next one looks there, too."""
    time = Time()
    clock = FairClock(time)
    for _ in range(2):
        clock.merge({("lane", 1): 5.0})
        time.now += FLOOR_AGE
    assert clock.floors("lane") == (0.0, 0.0, 0.0)
    clock.served("lane", 1, 4.0)
    assert clock.floors("lane") == (0.0, 0.0, 0.0)
    clock.served("lane", 1, 6.0)
    assert clock.floors("lane") == (0.0, 5.0, 0.0)


def test_some_claims_begin_below() -> None:
    """R17: every tenth claim begins with the lowest class."""
    clock = FairClock(Time())
    assert [clock.aged() for _ in range(2 * AGED_EVERY)].count(True) == 2
