"""Fixtures of the integration tests: whole gateways over either database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from neurogrid.core import db, prepared
from tests.support.gateway import Account, RunningGateway, Start, running
from tests.support.truth import Truth, truth_of
from tests.support.usage import adds_up


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not take a busy machine for a database that is away."""
    for module in (db, prepared):
        monkeypatch.setattr(module, "ANSWER_WITHIN", 12.0)


@pytest_asyncio.fixture
async def grid(database_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway with a node that has debug models; the test runs once on each database."""
    async with running(database_url) as gateway:
        yield gateway


@pytest_asyncio.fixture
async def sqlite_grid(sqlite_url: str) -> AsyncIterator[RunningGateway]:
    """The same on SQLite alone, for what has nothing to do with the database."""
    async with running(sqlite_url) as gateway:
        yield gateway


@pytest_asyncio.fixture
async def start(sqlite_url: str) -> AsyncIterator[Start]:
    """Starts gateways with settings of the test's own, on SQLite."""
    async with AsyncExitStack() as stack:

        async def begin(**options: Any) -> RunningGateway:
            return await stack.enter_async_context(running(sqlite_url, **options))

        yield begin


@pytest_asyncio.fixture
async def ada(grid: RunningGateway) -> Account:
    """A user of ``grid``."""
    return await grid.account()


@pytest_asyncio.fixture
async def eve(grid: RunningGateway) -> Account:
    """Another user of ``grid``."""
    return await grid.account()


@pytest_asyncio.fixture
async def truth(database_url: str) -> AsyncIterator[Truth]:
    """The tables of the queue in a database of this test's own, on each kind; in the end usage adds up."""
    async with truth_of(database_url) as opened:
        yield opened
        await adds_up(opened.database)


@pytest_asyncio.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Truth]:
    """The same on PostgreSQL alone."""
    async with truth_of(postgres_url) as opened:
        yield opened
        await adds_up(opened.database)
