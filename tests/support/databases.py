"""Databases of a PostgreSQL server, one for each test that asks.

Making and dropping one costs a tenth of a second, and a whole one on a server that syncs its files; so a database
whose schema a test left as it was is emptied, and serves the next test of the same process.
"""

from __future__ import annotations

import asyncio
import fcntl
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import URL, make_url

from neurogrid.core import migrations

T = TypeVar("T")

SCHEMA = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
  SELECT concat_ws(' ', attrelid::regclass, attname, atttypid::regtype, attnotnull, pg_get_expr(adbin, adrelid)) AS line
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid AND relnamespace = 'public'::regnamespace AND relkind = 'r'
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid AND relnamespace = 'public'::regnamespace
  UNION ALL
  SELECT concat_ws(' ', conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL
  SELECT concat_ws(' ', relname, relkind, reloptions) FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL
  SELECT concat_ws(' ', proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL
  SELECT concat_ws(' ', tgrelid::regclass, tgname) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL
  SELECT setconfig::text FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION ALL
  SELECT version_num FROM alembic_version
) AS lines (line)
"""
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
EMPTY = """
DO $$
DECLARE
  name text;
  filled boolean;
  names text[];
BEGIN
  FOR name IN
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO filled;
    IF filled THEN names := names || name; END IF;
  END LOOP;
  IF names IS NOT NULL THEN EXECUTE format('TRUNCATE %s CASCADE', array_to_string(names, ', ')); END IF;
  FOR name IN
    SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
  LOOP
    EXECUTE format('ALTER SEQUENCE %s RESTART', name);
  END LOOP;
END
$$
"""


TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
"""


@dataclass(frozen=True)
class Original:
    """What a database is right after its migrations: its schema, hashed, and the rows in its tables as JSON."""

    schema: str
    rows: dict[str, str]


class Databases:
    """Migrated databases, empty, on the server at ``admin_url``; processes of a run share what is in ``run``."""

    def __init__(self, admin_url: str, run: Path) -> None:
        self._admin = make_url(admin_url)
        self._run = run
        self._free: list[str] = []
        self._original: Original | None = None

    @contextmanager
    def one(self) -> Iterator[str]:
        """Lend a database for a block; yield its URL."""
        url = self._free.pop() if self._free else self._make()
        yield url
        if self._emptied(url):
            self._free.append(url)
        else:
            self._drop(url)

    def close(self) -> None:
        """Drop what this process made."""
        while self._free:
            self._drop(self._free.pop())

    def drop_template(self) -> None:
        """Drop the run's template, for servers that outlive the run."""
        known = self._run / "template.name"
        if known.exists():
            self._drop(self._url(known.read_text()))

    def _make(self) -> str:
        name = f"neurogrid_{uuid.uuid4().hex}"
        template = self._template()
        # One at a time: a template cannot be copied while another copy of it is being made.
        with locked(self._run, "template"):
            self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        url = self._url(name)
        if self._original is None:
            self._original = self._on(make_url(url), _original)
        return url

    def _emptied(self, url: str) -> bool:
        """Bring a database back to what it was made as; ``False`` where a test changed more than rows."""
        original = self._original
        assert original is not None
        try:
            return self._on(make_url(url), lambda connection: _restored(connection, original))
        except (asyncpg.PostgresError, OSError):
            return False

    def _drop(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        self._execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def _template(self) -> str:
        known = self._run / "template.name"
        with locked(self._run, "template"):
            if not known.exists():
                name = f"neurogrid_template_{uuid.uuid4().hex}"
                self._execute(f'CREATE DATABASE "{name}"')
                migrations.upgrade(self._url(name))
                known.write_text(name)
        return known.read_text()

    def _url(self, database: str) -> str:
        return self._admin.set(database=database).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        self._on(self._admin, lambda connection: connection.execute(statement))

    def _on(self, url: URL, act: Callable[[asyncpg.Connection[Any]], Awaitable[T]]) -> T:
        async def run() -> T:
            plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
            connection = await asyncpg.connect(plain)
            try:
                return await act(connection)
            finally:
                await connection.close()

        return asyncio.run(run())


async def _original(connection: asyncpg.Connection[Any]) -> Original:
    rows = {}
    for (table,) in await connection.fetch(TABLES):
        found = await connection.fetchval(f"SELECT json_agg(t) FROM {table} t")
        if found is not None:
            rows[table] = found
    return Original(await connection.fetchval(SCHEMA), rows)


async def _restored(connection: asyncpg.Connection[Any], original: Original) -> bool:
    await connection.execute("SET lock_timeout = '5s'; SET default_transaction_read_only = off")
    await connection.execute(END_OTHERS)
    if await connection.fetchval(SCHEMA) != original.schema:
        return False
    async with connection.transaction():
        await connection.execute(EMPTY)
        for table, rows in original.rows.items():
            await connection.execute(
                f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $1)", rows
            )
    return True


@contextmanager
def locked(directory: Path, name: str) -> Iterator[None]:
    """Keep the other processes of the run out of a block."""
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
