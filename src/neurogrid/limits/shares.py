"""Limiting without Redis: each gateway grants its share of a limit by itself, and says afterwards what it granted (R27)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from neurogrid.core.settings_limits import Algorithm
from neurogrid.limits.memory import MemoryEngine
from neurogrid.limits.windows import REFUSED, Answer, State, Take, Window, added, moved

MOST_SEEN: Final = 100_000
"""Windows whose last known state is kept; the one longest known goes first."""

Key = tuple[str, str]
"""(owner, field of the window)."""


class Mend(NamedTuple):
    """A correction: in the period ``at`` (of a bucket: at this ms) at least ``seen`` were counted, and ``more`` besides."""

    owner: str
    window: Window
    at: int
    seen: int
    more: int


def wall_clock() -> int:
    """Return the time in ms since 1970, as Redis has it."""
    return time.time_ns() // 1_000_000


class Shares:
    """What one gateway grants while it cannot ask the others, beginning with what it last knew to be counted."""

    def __init__(self, engine: MemoryEngine, clock: Callable[[], int] = wall_clock) -> None:
        """Count in ``engine``."""
        self._engine = engine
        self._clock = clock
        self._seen: dict[Key, tuple[Window, State]] = {}
        self._begun: set[Key] = set()
        self._taken: dict[Key, tuple[Window, dict[int, int]]] = {}
        self.gateways = 1
        """That live, as last known."""

    def saw(self, takes: Sequence[Take], answer: Answer) -> None:
        """Remember how windows stand in Redis."""
        seen = self._seen
        for take, state in zip(takes, answer.states, strict=True):
            seen[take.owner, take.window.field] = (take.window, state)
        while len(seen) > MOST_SEEN:
            del seen[next(iter(seen))]

    def take(self, takes: Sequence[Take]) -> Answer:
        """Grant all or nothing of this gateway's share, and note it."""
        now = self._clock()
        mine = [self._mine(take, now) for take in takes]
        answer = self._engine.take(mine, now)
        if answer.granted != REFUSED:
            for take, state in zip(takes, answer.states, strict=True):
                self._note(take.owner, take.window, state.at, answer.granted if take.part else take.cost)
        return answer

    def add(self, owner: str, window: Window, at: int, cost: int) -> None:
        """Count ``cost`` more (less, where negative) as of ``at``, and note it."""
        now = self._clock()
        self._mine(Take(owner, window), now)
        self._engine.add(owner, window.shared(self.gateways), at, cost, now)
        self._note(owner, window, at, cost)

    def _mine(self, take: Take, now: int) -> Take:
        """Return a take from this gateway's share. Touched for the first time, it begins with a share of what was seen."""
        owner, window, cost, _ = take
        if (owner, window.field) not in self._begun:
            self._begun.add((owner, window.field))
            known = self._seen.get((owner, window.field))
            at = now if window.algorithm is Algorithm.TOKEN_BUCKET else now // window.period
            state = moved(window, known[1], now) if known is not None else State(at)
            share = State(state.at, -(-state.used // self.gateways), -(-state.before // self.gateways))
            self._engine.put(owner, window, share)
        mine = window.shared(self.gateways)
        return take._replace(window=mine, cost=min(cost, mine.amount))

    def _note(self, owner: str, window: Window, at: int, cost: int) -> None:
        taken = self._taken.setdefault((owner, window.field), (window, {}))[1]
        if window.algorithm is Algorithm.TOKEN_BUCKET:
            at = 0
        taken[at] = taken.get(at, 0) + cost

    def known(self) -> list[Mend]:
        """Return what Redis had counted when it was last heard: it may have lost it."""
        now = self._clock()
        known = []
        for (owner, _), (window, state) in self._seen.items():
            standing = moved(window, state, now)
            if standing.used or standing.before:
                known.append(Mend(owner, window, state.at, state.used, 0))
            if standing.before and standing.at == state.at:
                known.append(Mend(owner, window, state.at - 1, state.before, 0))
        return known

    def news(self) -> list[Mend]:
        """Return what was granted here since this was last asked, to be told to Redis."""
        now = self._clock()
        taken, self._taken = self._taken, {}
        return [
            Mend(owner, window, at or now, 0, cost)
            for (owner, _), (window, costs) in taken.items()
            for at, cost in costs.items()
            if cost
        ]

    def untold(self, mends: Iterable[Mend]) -> None:
        """Take back news that may not have arrived."""
        for owner, window, at, _, more in mends:
            self._note(owner, window, at, more)

    def told(self, mends: Iterable[Mend]) -> None:
        """Note that Redis has counted these."""
        for owner, window, at, _, more in mends:
            known = self._seen.get((owner, window.field))
            state = moved(window, known[1], self._clock()) if known is not None else State(at)
            if state.at == at or window.algorithm is Algorithm.TOKEN_BUCKET:
                self._seen[owner, window.field] = (window, added(window, state, more))
            elif state.at == at + 1:
                self._seen[owner, window.field] = (window, state._replace(before=max(0, state.before + more)))

    def end(self) -> None:
        """Let Redis count again: what was counted here has been told."""
        self._begun.clear()

    def sweep(self) -> None:
        """Forget what has no effect any more."""
        now = self._clock()
        for key, (window, state) in list(self._seen.items()):
            standing = moved(window, state, now)
            if not standing.used and not standing.before:
                del self._seen[key]
        self._engine.sweep(now)
