"""Rolling a release out and back over one database (R30)."""

from __future__ import annotations

import sqlite3
from contextlib import closing, nullcontext

import pytest
from sqlalchemy import make_url, text

from neurogrid.cli.failures import Failure
from neurogrid.cli.service import require_migrated
from neurogrid.core import migrations
from neurogrid.core.db import Database


def test_a_migration_waits_for_no_lock_for_long(postgres_url: str) -> None:
    """R30: DDL gives up after two seconds instead of making every query queue up behind it."""
    shown = migrations.exclusively(
        postgres_url, lambda connection: connection.scalar(text("SHOW lock_timeout"))
    )
    assert shown == "2s"


@pytest.mark.parametrize(("min_app", "starts"), [("0.0.1", True), ("999.0.0", False)])
def test_a_release_starts_on_a_newer_schema_that_admits_it(
    sqlite_url: str, min_app: str, *, starts: bool
) -> None:
    """R30: after a roll-back a gateway starts where the schema says so, and is told what to do where it does not."""
    with closing(sqlite3.connect(make_url(sqlite_url).database or "")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'future'")
        connection.execute("UPDATE schema_meta SET value = ? WHERE key = 'min_app'", [min_app])
    with nullcontext() if starts else pytest.raises(Failure, match=min_app):
        require_migrated(sqlite_url)


@pytest.mark.asyncio
async def test_the_first_migration_says_who_may_use_it(database_url: str) -> None:
    """R30: every schema names the oldest release that can work with it."""
    database = Database(database_url)
    try:
        row = await database.first(text("SELECT value FROM schema_meta WHERE key = 'min_app'"))
    finally:
        await database.close()
    assert row is not None
    assert all(part.isdigit() for part in row["value"].split("."))
