"""The queue's tables on both databases, which add up in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.truth import Truth, truth_of
from tests.support.usage import adds_up


@pytest_asyncio.fixture
async def truth(database_url: str) -> AsyncIterator[Truth]:
    """A database of this test's own; the test runs once on each kind."""
    async with truth_of(database_url) as opened:
        yield opened
        await adds_up(opened.database)


@pytest_asyncio.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Truth]:
    """The same on PostgreSQL alone."""
    async with truth_of(postgres_url) as opened:
        yield opened
        await adds_up(opened.database)
