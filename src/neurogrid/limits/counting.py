"""What counts: Redis for all gateways together where there is one, else this process alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from neurogrid.core.background import Background
from neurogrid.core.settings_limits import LimitSettings
from neurogrid.limits.memory import GridLimiter, MemoryEngine
from neurogrid.limits.shares import Shares, wall_clock
from neurogrid.limits.windows import Answer, Take, Window

if TYPE_CHECKING:
    from neurogrid.limits.redis import RedisEngine

SWEEP_EVERY = 30.0
START_WITHIN = 1.0


class Counting:
    """Takes from windows, wherever they are counted."""

    def __init__(
        self,
        settings: LimitSettings,
        redis_url: str | None,
        gateway: str,
        *,
        prefix: str = "ng:",
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        """Open nothing yet. ``prefix`` stands before every key in Redis."""
        self.gateway = gateway
        self.limiter = GridLimiter()
        self._clock = clock
        self._memory = MemoryEngine(self.limiter.storage)
        self._shares = Shares(self._memory, clock)
        self._redis: RedisEngine | None = None
        if redis_url is not None and settings.enabled:
            # Imported here because `neurogrid up` runs without Redis and should not pay its client's memory.
            from neurogrid.limits.redis import RedisEngine  # noqa: PLC0415

            self._redis = RedisEngine(redis_url, settings, self._shares, gateway, prefix)

    @property
    def engine(self) -> str:
        """What counts now: ``memory``, ``redis``, or ``memory (redis is away)``."""
        if self._redis is None:
            return "memory"
        return "redis" if self._redis.healthy else "memory (redis is away)"

    @property
    def gateways(self) -> int:
        """How many gateways share the limits, as last known."""
        return self._shares.gateways

    @property
    def outages(self) -> int:
        """How often Redis went away."""
        return self._redis.outages if self._redis is not None else 0

    async def start(self, background: Background) -> None:
        """Begin; when Redis is away, begin without it and go on trying."""
        background.every(lambda: SWEEP_EVERY, self._sweep, "limits_sweep")
        if self._redis is None:
            return
        from neurogrid.limits.redis import PRESENCE_EVERY  # noqa: PLC0415

        tried = asyncio.Event()
        background.spawn(self._redis.run(tried.set), "limits_redis")
        background.every(lambda: PRESENCE_EVERY, self._redis.be_present, "limits_presence")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WITHIN):
                await tried.wait()

    async def take(self, takes: Sequence[Take]) -> Answer:
        """Grant all of a request's takes or nothing. Never fails, and never waits for longer than ``redis_timeout``."""
        if self._redis is None:
            return self._memory.take(takes, self._clock())
        return await self._redis.take(takes)

    def add(self, owner: str, window: Window, at: int, cost: int) -> None:
        """Count ``cost`` more (less, where negative) as of ``at``, whatever the limit."""
        if self._redis is None:
            self._memory.add(owner, window, at, cost, self._clock())
        else:
            self._redis.add(owner, window, at, cost)

    async def _sweep(self) -> None:
        self._shares.sweep()
