"""How long a gateway has been in touch with the database without a break (R4)."""

from __future__ import annotations

import time
from collections.abc import Callable


class Contact:
    """Tells whether this gateway may judge that others are gone.

    It may after ``lease`` seconds in which no two signs of contact lay more than half a lease apart: after an
    outage, or its own sleep, everybody else first gets the time to renew.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any contact so far."""
        self._lease = lease
        self._clock = clock
        self._since = self._at = clock()

    def note(self) -> None:
        """Note that the database answered just now."""
        now = self._clock()
        if now - self._at > self._lease / 2:
            self._since = now
        self._at = now

    def lose(self) -> None:
        """Note that the database is away."""
        self._since = self._at = self._clock()

    def unbroken(self) -> bool:
        """Tell whether the contact lasts for a lease already."""
        now = self._clock()
        return now - self._at <= self._lease / 2 and now - self._since >= self._lease
