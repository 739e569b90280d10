"""Counting in this process: slowapi's limiter on its in-process storage, and the token bucket that it lacks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from limits.storage import MemoryStorage
from slowapi import Limiter

from neurogrid.core.settings_limits import Algorithm
from neurogrid.limits.keys import address_key
from neurogrid.limits.windows import REFUSED, Answer, State, Take, Window, added, left, moved

SCHEME: Final = "grid-memory"
MOST_BUCKETS: Final = 100_000
FULL_AGAIN: Final = 31 * 24 * 3600 * 1000
"""Ms after which any bucket is full."""


class SweptStorage(MemoryStorage):
    """slowapi's storage, swept when the gateway says so: the original walks over all it has in a new thread for every
    10 ms in which something is counted.
    """

    STORAGE_SCHEME = [SCHEME]  # noqa: RUF012 - the registry of ``limits`` reads a list

    def _MemoryStorage__schedule_expiry(self) -> None:  # noqa: N802 - what the original calls
        """Start no thread."""

    def peek(self, key: str) -> int:
        """Return what is counted under a key that is used for one period only, and so never expires while it counts."""
        count: int = self.storage.get(key, 0)
        return count

    def bump(self, key: str, seconds: float, cost: int) -> int:
        """Count under such a key, which may be forgotten after ``seconds``. On the event loop alone: it takes no lock."""
        count = self.storage[key] = max(0, self.storage.get(key, 0) + cost)
        if key not in self.expirations:
            self.expirations[key] = time.time() + seconds
        return count

    def sweep(self) -> None:
        """Forget what has expired."""
        moment = time.time()
        for key, expires in list(self.expirations.items()):
            if expires <= moment:
                self.clear(key)


class GridLimiter(Limiter):
    """slowapi's limiter: its key function, its storage, its decorators for whoever writes routes of their own.

    It takes no settings from the environment: those of the grid alone count.
    """

    def __init__(self) -> None:
        super().__init__(key_func=address_key, storage_uri=f"{SCHEME}://", key_style="endpoint")

    def get_app_config(self, key: str, default_value: Any = None) -> Any:  # noqa: ARG002
        """Return the default."""
        return default_value

    @property
    def storage(self) -> SweptStorage:
        """Where the counts are."""
        storage = self.limiter.storage
        assert isinstance(storage, SweptStorage)  # noqa: S101 - made above
        return storage


class MemoryEngine:
    """Grants by what this process has counted. Never waits, never fails."""

    def __init__(self, storage: SweptStorage) -> None:
        """Count in ``storage``."""
        self._storage = storage
        self._buckets: dict[str, State] = {}

    def take(self, takes: Sequence[Take], now: int) -> Answer:
        """Grant all or nothing at ``now`` (ms)."""
        granted, fits = 0, True
        windows = [take.window for take in takes]
        states = []
        for take in takes:
            state = self.state(take.owner, take.window, now)
            states.append(state)
            room = left(take.window, state, now)
            if take.part:
                granted = min(take.cost, room, granted or take.cost)
                fits = fits and granted > 0
            elif room < take.cost:
                fits = False
        if not fits:
            return Answer(REFUSED, now, windows, states)
        for place, take in enumerate(takes):
            cost = granted if take.part else take.cost
            states[place] = self._add(take.owner, take.window, states[place], cost)
        return Answer(granted, now, windows, states)

    def state(self, owner: str, window: Window, now: int) -> State:
        """Return how a window stands at ``now``."""
        if window.algorithm is Algorithm.TOKEN_BUCKET:
            return moved(window, self._buckets.get(owner + window.field, State(now)), now)
        at = now // window.period
        name = f"{owner}{window.field}:"
        peek = self._storage.peek
        before = peek(f"{name}{at - 1}") if window.algorithm is Algorithm.SLIDING_WINDOW else 0
        return State(at, peek(f"{name}{at}"), before)

    def add(self, owner: str, window: Window, at: int, cost: int, now: int) -> None:
        """Count ``cost`` more (less, where negative) in the period ``at``, or in a bucket, whatever the limit."""
        if window.algorithm is Algorithm.TOKEN_BUCKET:
            self._add(owner, window, self.state(owner, window, now), cost)
        else:
            self._add(owner, window, State(at), cost)

    def _add(self, owner: str, window: Window, state: State, cost: int) -> State:
        if window.algorithm is Algorithm.TOKEN_BUCKET:
            if len(self._buckets) >= MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
            state = self._buckets[owner + window.field] = added(window, state, cost)
            return state
        count = self._storage.bump(f"{owner}{window.field}:{state.at}", 2 * window.seconds, cost)
        return State(state.at, count, state.before)

    def put(self, owner: str, window: Window, state: State) -> None:
        """Take over a window as it stands elsewhere."""
        if window.algorithm is Algorithm.TOKEN_BUCKET:
            self._buckets[owner + window.field] = state
            return
        for at, count in ((state.at, state.used), (state.at - 1, state.before)):
            key = f"{owner}{window.field}:{at}"
            self._storage.clear(key)
            if count:
                self._storage.bump(key, 2 * window.seconds, count)

    def sweep(self, now: int) -> None:
        """Forget what has no effect any more."""
        self._storage.sweep()
        self._buckets = {key: state for key, state in self._buckets.items() if now - state.at < FULL_AGAIN}
