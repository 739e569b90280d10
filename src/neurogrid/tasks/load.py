"""How many unfinished tasks an owner has, without counting them at every submission."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from neurogrid.core.db import is_away
from neurogrid.core.errors import TooManyTasks, Unavailable
from neurogrid.tasks.store import TaskStore

REFRESH_SECONDS = 1.0
KNOWN_OWNERS = 10_000


@dataclass(slots=True)
class _Count:
    live: int = 0
    counted_at: float = float("-inf")
    counting: asyncio.Lock = field(default_factory=asyncio.Lock)
    failed_at: float = float("-inf")


class OwnerLoad:
    """Admits tasks while their owner has fewer than ``limit`` unfinished ones.

    Counted in the database at most once a second per owner, and by this process in between: an owner can
    pass the limit by what other gateways accept within that second, and by what is being written while it is
    counted.
    """

    def __init__(self, store: TaskStore, limit: int) -> None:
        """Count in ``store``."""
        self._store = store
        self._limit = limit
        self._known: dict[str, _Count] = {}

    async def admit(self, owner: str, tasks: int = 1) -> None:
        """Count ``tasks`` more for ``owner``. Raises ``TooManyTasks``."""
        count = await self._count(owner)
        if count.live + tasks > self._limit:
            msg = f"You have {count.live} unfinished tasks, and {self._limit} is the most. Wait for some to finish."
            raise TooManyTasks(msg, headers={"Retry-After": "5"})
        count.live += tasks

    async def _count(self, owner: str) -> _Count:
        count = self._known.get(owner)
        if count is None:
            if len(self._known) >= KNOWN_OWNERS:
                self._known.clear()
            count = self._known[owner] = _Count()
        if _stale(count):
            asked_at = time.monotonic()
            async with count.counting:  # one query for all who submit in this moment
                if count.failed_at > asked_at:  # else each in turn would find that the database hangs
                    msg = "The database is away. Nothing was written; try again in a moment."
                    raise Unavailable(msg, retry_after=5)
                if _stale(count):
                    await self._refresh(owner, count)
        return count

    async def _refresh(self, owner: str, count: _Count) -> None:
        try:
            count.live = await self._store.live(owner, self._limit)
        except Exception as error:
            if is_away(error):
                count.failed_at = time.monotonic()
            raise
        count.counted_at = time.monotonic()


def _stale(count: _Count) -> bool:
    return time.monotonic() - count.counted_at > REFRESH_SECONDS
