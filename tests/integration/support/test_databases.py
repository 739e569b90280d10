"""The databases of the tests come back empty, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.support.databases import Databases

ROWS = (
    "SELECT json_agg(m) FROM schema_meta m",
    "SELECT count(*) FROM users",
    "SELECT count(*) FROM audit_head",
)


def on(url: str, *statements: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return [await connection.fetchval(statement) for statement in statements]
        finally:
            await connection.close()

    return asyncio.run(run())


def test_a_database_is_lent_again_as_it_was(databases: Databases) -> None:
    """The rows of a test are gone, those of the migrations are back."""
    with databases.one() as first:
        before = on(first, *ROWS)
        on(first, "INSERT INTO schema_meta VALUES ('left', 'behind')", "DELETE FROM audit_head")
    with databases.one() as second:
        assert second == first
        assert on(second, *ROWS) == before


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tasks ADD COLUMN news text",
        "DROP INDEX ix_tasks_live",
        "CREATE TABLE news (id int)",
        "UPDATE alembic_version SET version_num = '0000'",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
        "ALTER TABLE tasks SET (autovacuum_enabled = off)",
    ],
)
def test_a_changed_database_is_not_lent_again(databases: Databases, change: str) -> None:
    """Whatever a test changes but rows, the next one gets another database."""
    with databases.one() as first:
        on(first, change)
    with databases.one() as second:
        assert second != first
