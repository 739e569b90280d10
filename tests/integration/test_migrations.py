"""Promises about migrations, on both databases."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from neurogrid.core import migrations
from neurogrid.core.db import Database


@pytest.fixture
def empty_url(database_url: str) -> str:
    """URL of a database that holds no table of ours."""
    migrations.downgrade(database_url, "base")
    return database_url


def test_a_migrated_database_is_what_the_code_says(database_url: str) -> None:
    """Tables in code and tables made by migrations do not drift apart."""
    migrations.check(database_url)


def test_status_of_a_migrated_database(database_url: str) -> None:
    """A migrated database is at the head, nothing is pending, and this release may run on it."""
    status = migrations.status(database_url)
    assert status.current == status.head is not None
    assert status.pending == ()
    assert not status.ahead
    assert status.admits("0.1.0")


def test_down_and_up_again(empty_url: str) -> None:
    """Every migration can be undone and applied again."""
    before = migrations.status(empty_url)
    assert before.current is None
    assert before.pending[-1] == before.head
    assert not before.admits("0.1.0")
    migrations.upgrade(empty_url)
    migrations.check(empty_url)


def test_concurrent_upgrades_wait_for_each_other(empty_url: str) -> None:
    """Several processes that start at once and migrate do so one after the other, without errors."""
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(migrations.upgrade, empty_url) for _ in range(3)]:
            done.result()
    assert migrations.status(empty_url).pending == ()


def test_a_newer_schema_admits_releases_down_to_its_min_app(database_url: str) -> None:
    """After a roll-back the old release runs on the newer schema as long as that one says so (R30)."""
    asyncio.run(_pretend_newer(database_url, min_app="0.2.0"))
    status = migrations.status(database_url)
    assert status.ahead
    assert status.admits("0.10.0")
    assert status.admits("0.2.0")
    assert not status.admits("0.1.9")


async def _pretend_newer(url: str, *, min_app: str) -> None:
    database = Database(url)
    try:
        async with database.transaction() as session:
            await session.execute(text("UPDATE alembic_version SET version_num = 'future'"))
            await session.execute(
                text("UPDATE schema_meta SET value = :min_app WHERE key = 'min_app'"), {"min_app": min_app}
            )
    finally:
        await database.close()


@pytest.mark.asyncio
async def test_migrating_inside_a_running_loop(empty_url: str) -> None:
    """A server that migrates at start does so on a thread beside its event loop."""
    await asyncio.to_thread(migrations.upgrade, empty_url)
    assert (await asyncio.to_thread(migrations.status, empty_url)).pending == ()


def test_a_missing_sqlite_file_is_not_made_by_asking(tmp_path: Path) -> None:
    """Asking for the status changes nothing."""
    file = tmp_path / "none.db"
    assert migrations.status(f"sqlite+aiosqlite:///{file}").current is None
    assert not file.exists()


@pytest.mark.parametrize("arguments", [["upgrade", "head"], ["check"], ["downgrade", "base"]])
def test_plain_alembic_works_too(database_url: str, arguments: list[str]) -> None:
    """People who know Alembic use its own command in a checkout, with the database from the settings."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=migrations.scripts_directory().parent,
        env={**os.environ, "NEUROGRID_DATABASE_URL": database_url},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
