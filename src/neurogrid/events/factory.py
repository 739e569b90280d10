"""Chooses the bus."""

from __future__ import annotations

from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus
from neurogrid.events.memory import MemoryBus


def make_bus(redis_url: str | None, live: LiveSettings, prefix: str = "ng:") -> Bus:
    """Return a bus, not yet started: over Redis when there is a URL, else in process.

    ``prefix`` stands before every key and channel, so that several grids (or tests) can share a Redis.
    """
    if redis_url is None:
        return MemoryBus(live)
    # Imported here because `neurogrid up` runs without Redis and should not pay its client's memory.
    from neurogrid.events.redis import RedisBus  # noqa: PLC0415

    return RedisBus(redis_url, live, prefix)
