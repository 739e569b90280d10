"""How many unfinished tasks an owner has, without counting them at every submission."""

from __future__ import annotations

import time

from neurogrid.core.errors import TooManyTasks
from neurogrid.tasks.store import TaskStore

REFRESH_SECONDS = 1.0
KNOWN_OWNERS = 10_000


class OwnerLoad:
    """Admits tasks while their owner has fewer than ``limit`` unfinished ones.

    Counted in the database at most once a second per owner, and by this process in between: an owner can
    pass the limit by what other gateways accept within that second.
    """

    def __init__(self, store: TaskStore, limit: int) -> None:
        """Count in ``store``."""
        self._store = store
        self._limit = limit
        self._known: dict[str, tuple[float, int]] = {}

    async def admit(self, owner: str, tasks: int = 1) -> None:
        """Count ``tasks`` more for ``owner``. Raises ``TooManyTasks``."""
        counted_at, live = self._known.get(owner, (0.0, 0))
        if time.monotonic() - counted_at > REFRESH_SECONDS:
            counted_at, live = time.monotonic(), await self._store.live(owner, self._limit)
        if live + tasks > self._limit:
            msg = f"You have {live} unfinished tasks, and {self._limit} is the most. Wait for some to finish."
            raise TooManyTasks(msg, headers={"Retry-After": "5"})
        if len(self._known) >= KNOWN_OWNERS:
            self._known.clear()
        self._known[owner] = (counted_at, live + tasks)
