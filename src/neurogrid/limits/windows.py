"""The arithmetic of the windows, pure and in whole milliseconds; ``script`` says the same in Lua.

A window's state is three numbers. A fixed or a sliding window has the number of its period (they begin at full
multiples of their length since 1970), what was counted in it, and what in the one before. A token bucket has
when it was last looked at and what it owes, in units of ``1 / period`` of a token, so that nothing is rounded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from neurogrid.core.settings_limits import Algorithm

LETTERS: Final = {Algorithm.FIXED_WINDOW: "f", Algorithm.SLIDING_WINDOW: "s", Algorithm.TOKEN_BUCKET: "b"}


class State(NamedTuple):
    """``at``: the number of the period, or when a bucket was looked at (ms)."""

    at: int = 0
    used: int = 0
    before: int = 0


class Standing(NamedTuple):
    """How a window stands for one who asks: what is left, and in how many ms."""

    left: int
    reset: int
    """Until all that is counted now is forgotten or, of a sliding window, begins to be; no less than ``wait``."""
    wait: int
    """Until what was asked for would be granted; 0: at once."""


REFUSED: Final = -1


@dataclass(frozen=True, slots=True)
class Window:
    """So many in so long, counted under a name."""

    name: str
    amount: int
    seconds: int
    algorithm: Algorithm
    of: str = ""
    """Whose it is among others of the same owner: a key's id."""
    field: str = dataclasses.field(init=False)
    """Where its state lies; other algorithms and lengths have others."""
    period: int = dataclasses.field(init=False)
    """Its length in ms."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "field", f"{LETTERS[self.algorithm]}:{self.name}:{self.seconds}{self.of and ':'}{self.of}"
        )
        object.__setattr__(self, "period", self.seconds * 1000)

    def shared(self, gateways: int) -> Window:
        """Return what each of several gateways may grant by itself (R27)."""
        return self if gateways == 1 else dataclasses.replace(self, amount=-(-self.amount // gateways))


class Take(NamedTuple):
    """What one request takes from one window of an owner."""

    owner: str
    window: Window
    cost: int = 1
    part: bool = False
    """Whether a part of it will do. All that will do with a part is granted the same part."""


class Answer(NamedTuple):
    """What became of the takes of one request."""

    granted: int
    """Of the takes that would do with a part; 0 where there are none, ``REFUSED`` when nothing was granted."""
    now: int
    """When (ms)."""
    windows: Sequence[Window]
    """In the order of the takes, with the amounts that counted: without Redis a gateway's share of them (R27)."""
    states: list[State]


def moved(window: Window, state: State, now: int) -> State:
    """Return the state as it is at ``now``. A clock that goes back changes nothing."""
    at, used, _ = state
    if window.algorithm is Algorithm.TOKEN_BUCKET:
        passed = max(0, now - at)
        return State(max(at, now), max(0, used - passed * window.amount), 0)
    period = now // window.period
    if at >= period:
        return state
    return State(period, 0, used if at == period - 1 else 0)


def added(window: Window, state: State, cost: int) -> State:
    """Return a state with ``cost`` more counted (less, where negative)."""
    unit = window.period if window.algorithm is Algorithm.TOKEN_BUCKET else 1
    return State(state.at, max(0, state.used + cost * unit), state.before)


def left(window: Window, state: State, now: int) -> int:
    """Return how much is left in a state that was moved to ``now``; negative when over."""
    period, (_, used, before) = window.period, state
    if window.algorithm is Algorithm.TOKEN_BUCKET:
        return window.amount - -(-used // period)
    if not before or window.algorithm is Algorithm.FIXED_WINDOW:
        return window.amount - used
    return window.amount - used + -before * (period - now % period) // period  # what fades is rounded up


def stand(window: Window, state: State, now: int, cost: int) -> Standing:
    """Return what is left in a state that was moved to ``now``, and how long ``cost`` would have to wait.

    ``cost`` may be no more than the window's amount: it would have to wait for ever.
    """
    room, period = left(window, state, now), window.period
    if window.algorithm is Algorithm.TOKEN_BUCKET:
        over = state.used + (cost - window.amount) * period
        return Standing(max(0, room), -(-state.used // window.amount), max(0, -(-over // window.amount)))
    remains = period - now % period
    if room >= cost:
        return Standing(max(0, room), remains, 0)
    if window.algorithm is Algorithm.FIXED_WINDOW:
        return Standing(max(0, room), remains, remains)
    wait = _sliding_wait(window, state, remains, window.amount - cost)
    return Standing(max(0, room), max(remains, wait), wait)


def _sliding_wait(window: Window, state: State, remains: int, most: int) -> int:
    """Return the ms until the weighted count is no more than ``most``."""
    period = window.period
    if state.used <= most:  # the past period has to fade
        return remains - (most - state.used) * period // state.before
    return remains + period - min(period, most * period // state.used)
