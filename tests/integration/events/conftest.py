"""Buses under test: every promise of the bus is kept by each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus
from neurogrid.events.factory import make_bus

MakeBus = Callable[..., Awaitable[Bus]]
LIVE = LiveSettings(redis_timeout=5.0, stream_length=50)
"""Patient, so that a busy machine is not taken for a Redis that is away."""


@pytest_asyncio.fixture
async def start_bus() -> AsyncIterator[MakeBus]:
    """Start a bus; closed at the end of the test."""
    started: list[Bus] = []

    async def start(url: str | None, prefix: str = "ng:", live: LiveSettings = LIVE) -> Bus:
        bus = make_bus(url, live, prefix)
        await bus.start()
        started.append(bus)
        return bus

    yield start
    for bus in started:
        await bus.close()


@pytest_asyncio.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest, start_bus: MakeBus) -> Bus:
    """One bus of each kind."""
    if request.param == "memory":
        return await start_bus(None)
    return await start_bus(request.getfixturevalue("redis_url"), request.getfixturevalue("redis_prefix"))


@pytest_asyncio.fixture
async def two_buses(redis_url: str, redis_prefix: str, start_bus: MakeBus) -> tuple[Bus, Bus]:
    """The buses of two gateways."""
    return await start_bus(redis_url, redis_prefix), await start_bus(redis_url, redis_prefix)
