"""Gateways with scripted nodes on both databases; whatever happened to tasks, what was charged adds up in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.scripted import World, world_of
from tests.support.usage import adds_up


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """One gateway, patient with its nodes; the test runs once on each database."""
    async with world_of(database_url) as opened:
        yield opened
        await adds_up(opened.truth.database)


@pytest_asyncio.fixture
async def two(postgres_url: str, redis_url: str) -> AsyncIterator[World]:
    """Two gateways on PostgreSQL and Redis."""
    async with world_of(postgres_url, redis_url, gateways=2) as opened:
        yield opened
        await adds_up(opened.truth.database)
