"""Values that are good for some seconds, made once for all who ask in that time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Slot(Generic[V]):
    made_at: float = float("-inf")
    value: V | None = None
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


class Recent(Generic[K, V]):
    """Keeps up to ``most`` values for ``seconds`` each."""

    def __init__(self, seconds: float, most: int = 10_000, now: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet."""
        self._seconds = seconds
        self._most = most
        self._now = now
        self._slots: dict[K, _Slot[V]] = {}

    async def get(self, key: K, make: Callable[[], Awaitable[V]]) -> tuple[V, float]:
        """Return the value of ``key``, made by ``make`` if there is none or it is too old, and its age in seconds."""
        slot = self._slots.get(key)
        if slot is None:
            if len(self._slots) >= self._most:
                self._slots.clear()
            slot = self._slots[key] = _Slot()
        async with slot.making:
            age = self._now() - slot.made_at
            if slot.value is None or age > self._seconds:
                asked_at = self._now()
                slot.value = await make()
                slot.made_at = asked_at
                age = self._now() - asked_at
            return slot.value, age
