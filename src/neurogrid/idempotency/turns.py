"""Requests with one key pass one at a time through a process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets requests with one key of one owner pass one at a time, so that only the first does any work."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._waiting: defaultdict[tuple[str, str], int] = defaultdict(int)

    @asynccontextmanager
    async def take(self, owner: str, key: str | None) -> AsyncIterator[None]:
        """Hold the turn of a key; without a key there is nothing to wait for."""
        if key is None:
            yield
            return
        turn = (owner, key)
        lock = self._locks.setdefault(turn, asyncio.Lock())
        self._waiting[turn] += 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[turn] -= 1
            if not self._waiting[turn]:
                del self._waiting[turn], self._locks[turn]
