"""Gateways whose passwords are hashed quickly, and people who sign in at them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from neurogrid.auth import factors, passwords, service
from tests.support.door import SECRET, Clock, Door
from tests.support.gateway import running
from tests.support.phone import Time


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hash passwords in a millisecond."""
    quick = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(passwords, "_argon2", lambda: quick)
    passwords._nobodys.cache_clear()
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which identities grow old."""
    clock = Clock()
    monkeypatch.setattr(service, "time", clock)
    return clock


@pytest_asyncio.fixture
async def door(database_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    """A gateway with mails; the test runs once on each database."""
    outbox = tmp_path / "outbox"
    async with running(database_url, secret_key=SECRET, mail={"outbox": outbox}) as grid:
        yield Door(grid, await grid.client(), outbox)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time by which the codes of apps are judged."""
    time = Time()
    monkeypatch.setattr(factors, "now", time.now)
    return time
