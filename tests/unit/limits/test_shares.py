"""What a gateway grants while Redis is away, as time goes by (R27)."""

from __future__ import annotations

import pytest

from neurogrid.core.settings_limits import Algorithm
from neurogrid.limits.memory import GridLimiter, MemoryEngine
from neurogrid.limits.shares import Mend, Shares
from neurogrid.limits.windows import REFUSED, Answer, State, Take, Window

MINUTE = 60_000
BEGIN = 30_000_000 * MINUTE
"""ms; a minute begins at it."""


class World:
    """A gateway that knows of one other, and a clock."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.now = BEGIN
        self.window = Window("requests", 10, 60, algorithm)
        self.shares = Shares(MemoryEngine(GridLimiter().storage), lambda: self.now)
        self.shares.gateways = 2

    def see(self, state: State) -> None:
        """Have Redis say how the window stands."""
        self.shares.saw([Take("u:ada", self.window)], Answer(0, self.now, [self.window], [state]))

    def granted(self, times: int) -> int:
        answers = [self.shares.take([Take("u:ada", self.window)]) for _ in range(times)]
        return sum(answer.granted != REFUSED for answer in answers)


@pytest.mark.parametrize(
    ("algorithm", "granted"),
    [
        (Algorithm.FIXED_WINDOW, 5),  # the minute in which all was used up is over
        (Algorithm.SLIDING_WINDOW, 2),  # half of it still lies in the window, and weighs on half of the limit
    ],
)
def test_what_was_used_before_the_turn_of_a_period_weighs_as_ever(algorithm: Algorithm, granted: int) -> None:
    """Redis is lost in one minute and asked for in the next: what was known to be used is moved on, not forgotten."""
    world = World(algorithm)
    world.see(State(world.now // MINUTE, 10))
    world.now += MINUTE + MINUTE // 2
    assert world.granted(20) == granted


def test_a_bucket_refills_meanwhile() -> None:
    """What a bucket owed is paid off by the time that has passed."""
    world = World(Algorithm.TOKEN_BUCKET)
    world.see(State(world.now, 10 * MINUTE))
    assert world.granted(20) == 0
    world.now += MINUTE // 2
    assert world.granted(20) == 2  # five a minute are this gateway's


def test_news_are_told_once() -> None:
    """What was granted is told in the period in which it was, and what could not be told is told again."""
    world = World(Algorithm.SLIDING_WINDOW)
    assert world.granted(3) == 3
    news = world.shares.news()
    assert news == [Mend("u:ada", world.window, BEGIN // MINUTE, 0, 3)]
    assert world.shares.news() == []
    world.shares.untold(news)
    assert world.granted(20) == 2, "telling Redis frees nothing here"
    assert world.shares.news() == [Mend("u:ada", world.window, BEGIN // MINUTE, 0, 5)]


def test_what_has_no_effect_any_more_is_forgotten() -> None:
    """Memory holds what may still count, and no more."""
    world = World(Algorithm.SLIDING_WINDOW)
    world.see(State(world.now // MINUTE, 10))
    world.now += MINUTE
    world.shares.sweep()
    assert world.shares.known()
    world.now += MINUTE
    world.shares.sweep()
    assert world.shares.known() == []
