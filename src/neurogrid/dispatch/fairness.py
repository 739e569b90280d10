"""The clocks of fair queueing, as one gateway knows them (R16, R17).

Self-clocked fair queueing (Golestani, INFOCOM 1994): a task's rank is the larger of the lane's virtual time and
its owner's last rank, plus cost divided by weight; the lowest rank is served first, and the virtual time is the
rank served last. The ranks lie in the rows. What a gateway keeps is the virtual time, which all share through
``lane_clock`` about once a second, and what tasks cost more or less than estimated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from neurogrid.queue.policy import Priority
from neurogrid.tasks.policy import AGED_EVERY

Clock = tuple[str, int]
"""(lane, priority class)."""

FLOOR_AGE: Final = 10.0
"""Seconds that the rank below which nothing is looked for lies behind."""
UNFLOORED_EVERY: Final = 30.0
"""Seconds between claims of a lane that look at everything."""
LEAST_SHARE: Final = 0.05
"""Least part of its estimate that a task costs, however much its owner was overcharged before."""
MOST_DEBTS: Final = 10_000


class FairClock:
    """Virtual times, floors and corrections."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin at zero; the first synchronisation brings the others' times."""
        self._now = now
        self._served: dict[Clock, float] = {}
        self._history: dict[Clock, deque[tuple[float, float]]] = {}
        self._unfloored: dict[str, float] = {}
        self._debts: dict[tuple[str, str, int], float] = {}
        self._changed: set[Clock] = set()
        self._claims = 0

    def price(self, owner: str, lane: str, priority: int, cost: float) -> tuple[float, float]:
        """Return what a task of ``owner`` costs after corrections, and the virtual time of its queue."""
        debt = self._debts.pop((owner, lane, priority), 0.0)
        charged = max(cost * LEAST_SHARE, cost + debt)
        if charged > cost + debt:
            self._owe(owner, lane, priority, cost + debt - charged)
        return charged, self.present(lane, priority)

    def present(self, lane: str, priority: int) -> float:
        """Return the virtual time of a lane and class."""
        return self._served.get((lane, priority), 0.0)

    def settled(self, owner: str, lane: str, priority: int, cost: float, actual: float) -> None:
        """Note what a task really cost, in the unit of its estimate."""
        if actual > 0 and actual != cost:
            self._owe(owner, lane, priority, actual - cost)

    def give_back(self, owner: str, lane: str, priority: int, corrected: float) -> None:
        """Take back what a task that came to nothing was charged for earlier ones."""
        if corrected:
            self._owe(owner, lane, priority, corrected)

    def _owe(self, owner: str, lane: str, priority: int, amount: float) -> None:
        if len(self._debts) >= MOST_DEBTS:
            self._debts.clear()
        key = (owner, lane, priority)
        self._debts[key] = self._debts.get(key, 0.0) + amount

    def served(self, lane: str, priority: int, rank: float) -> None:
        """Note that the task with ``rank`` was begun."""
        clock = (lane, priority)
        if rank > self._served.get(clock, 0.0):
            self._served[clock] = rank
            self._changed.add(clock)
        elif rank < self._floor(clock, self._now()):
            self._unfloored.pop(lane, None)  # there may be more of them down there

    def floors(self, lane: str) -> tuple[float, float, float]:
        """Return the ranks below which a claim need not look: what was served ``FLOOR_AGE`` ago (R16)."""
        now = self._now()
        if now - self._unfloored.get(lane, 0.0) >= UNFLOORED_EVERY:
            self._unfloored[lane] = now
            return 0.0, 0.0, 0.0
        high, normal, low = (self._floor((lane, priority), now) for priority in Priority)
        return high, normal, low

    def _floor(self, clock: Clock, now: float) -> float:
        history = self._history.get(clock)
        if not history or history[0][0] > now - FLOOR_AGE:
            return 0.0
        while len(history) > 1 and history[1][0] <= now - FLOOR_AGE:
            history.popleft()
        return history[0][1]

    def aged(self) -> bool:
        """Tell whether the next claim begins with the lowest class (R17)."""
        self._claims += 1
        return self._claims % AGED_EVERY == 0

    def take_changes(self) -> dict[Clock, float]:
        """Return the virtual times that moved here since the last call."""
        changed, self._changed = self._changed, set()
        return {clock: self._served[clock] for clock in changed}

    def merge(self, clocks: Mapping[Clock, float]) -> None:
        """Take the virtual times of all gateways, and remember them for the floors."""
        now = self._now()
        for clock, rank in clocks.items():
            self._served[clock] = max(rank, self._served.get(clock, 0.0))
            self._history.setdefault(clock, deque()).append((now, rank))
