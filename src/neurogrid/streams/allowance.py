"""How many messages a client may send."""

from __future__ import annotations

import time


class Allowance:
    """A token bucket: ``rate`` messages a second, ``burst`` at once."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = self._left = float(burst)
        self._since = time.monotonic()

    def take(self) -> bool:
        """Take one; ``False`` when there is none."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
