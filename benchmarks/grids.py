"""Whole grids to measure: embedded on SQLite, and gateway and node apart on PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from benchmarks.http_load import Client
from benchmarks.processes import Process, free_port, run, running
from neurogrid.servers.running import Servers, running_servers

EMBEDDED = "SQLite"
APART = "PostgreSQL, Valkey"
DEBUG_MODELS = "debug.echo,debug.sleep"
MANY = "20000"
NEUROGRID = "neurogrid.cli.main"
EMAIL = "bench@localhost"


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid that answers on ``port`` of this machine; ``key`` is an administrator's."""

    name: str
    port: int
    key: str
    gateway: Process
    node: Process | None = None


StartGrid = Callable[..., AbstractContextManager[Grid]]
"""``embedded`` or ``apart``: takes ``models`` and ``slots``."""


def settings(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what all processes are told: nothing a benchmark stands for may be refused as too much."""
    return {
        "NEUROGRID_DEBUG_MODELS": "true",
        "NEUROGRID_TASKS__MAX_QUEUED": "10000000",
        "NEUROGRID_LIVE__CONNECTIONS_PER_USER": MANY,
        **(extra or {}),
    }


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a temporary directory, which PostgreSQL's user may pass when we are root."""
    with tempfile.TemporaryDirectory(prefix="neurogrid-bench-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@contextmanager
def bare() -> Iterator[tuple[Process, int]]:
    """Run the bare FastAPI route, served exactly as the gateway is; yields it and its port."""
    port = free_port()
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-server-header")
    root = str(Path(__file__).resolve().parents[1])
    with (
        workplace() as directory,
        running(
            "bare",
            ("uvicorn", "benchmarks.bare:app", "--app-dir", root, "--port", str(port), *options),
            directory,
        ) as process,
    ):
        process.wait_until_ready(port)
        yield process, port


@contextmanager
def embedded(models: str = DEBUG_MODELS, slots: int = 64) -> Iterator[Grid]:
    """Run ``neurogrid up``."""
    port = free_port()
    with (
        workplace() as directory,
        running("up", up_command(directory, port, models, slots), directory, settings()) as process,
    ):
        process.wait_until_ready(port)
        yield Grid(EMBEDDED, port, key_of(directory), process)


def up_command(directory: Path, port: int, models: str | None, slots: int) -> tuple[str, ...]:
    """Return ``neurogrid up`` with its data below ``directory``; ``models`` ``None`` means all."""
    options = ("--port", str(port), "--data-dir", str(directory / "data"), "--slots", str(slots))
    return (NEUROGRID, "up", *options, *(("--models", models) if models else ()))


def key_of(directory: Path) -> str:
    """Return the key that ``up`` made."""
    key: str = json.loads((directory / "data" / "credentials.json").read_text())["api_key"]
    return key


@contextmanager
def apart(models: str = DEBUG_MODELS, slots: int = 64) -> Iterator[Grid]:
    """Run ``neurogrid serve`` and ``neurogrid node`` on PostgreSQL and Valkey."""
    port = free_port()
    with workplace() as directory, servers(directory) as found:
        environment = prepare(directory, found)
        with (
            running("serve", (NEUROGRID, "serve", "--port", str(port)), directory, environment) as gateway,
            joined("node", port, directory, environment, models, slots) as node,
        ):
            gateway.wait_until_ready(port)
            key = environment["NEUROGRID_API_KEY"]
            asyncio.run(attached(node, port, key))
            yield Grid(APART, port, key, gateway, node)


@contextmanager
def servers(directory: Path) -> Iterator[Servers]:
    """Give a PostgreSQL and a Valkey: those named in the environment, or private ones from wheels.

    The database is a new one in either case, and dropped at the end.
    """
    database, redis = (os.environ.get(f"NEUROGRID_BENCH_{name}_URL") for name in ("DATABASE", "REDIS"))
    if database and redis:
        with _fresh_database(database) as url:
            yield Servers(url, redis)
        return
    with (
        running_servers(directory / "servers") as found,
        _fresh_database(database or found.database_url) as url,
    ):
        yield Servers(url, redis or found.redis_url)


@contextmanager
def _fresh_database(admin: str) -> Iterator[str]:
    name = f"neurogrid_bench_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(admin, f'CREATE DATABASE "{name}"'))
    try:
        yield make_url(admin).set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(_execute(admin, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def prepare(directory: Path, found: Servers) -> dict[str, str]:
    """Migrate, make an account; return the environment, with its key and a node's token, for all processes."""
    environment = settings({
        "NEUROGRID_DATABASE_URL": found.database_url,
        "NEUROGRID_REDIS_URL": found.redis_url,
        "NEUROGRID_DATA_DIR": str(directory / "data"),
    })  # fmt: skip

    def neurogrid(*arguments: str) -> str:
        return run((NEUROGRID, *arguments), directory, environment)

    neurogrid("db", "upgrade")
    neurogrid("user", "create", EMAIL, "--role", "admin", "--tier", "unlimited")
    environment["NEUROGRID_API_KEY"] = neurogrid("key", "create", "--user", EMAIL, "--name", "bench")
    environment["NEUROGRID_NODE_TOKEN"] = neurogrid("nodes", "token")
    return environment


@contextmanager
def joined(
    name: str, port: int, directory: Path, environment: Mapping[str, str], models: str | None, slots: int
) -> Iterator[Process]:
    """Run a node of that name; ``models`` ``None`` means all. ``attached`` tells when it serves."""
    options = ("--url", f"ws://127.0.0.1:{port}", "--name", name, "--slots", str(slots))
    chosen = ("--models", models) if models else ()
    with running(name, (NEUROGRID, "node", *options, *chosen), directory, environment) as process:
        yield process


async def attached(node: Process, port: int, key: str) -> float:
    """Return the seconds from the node's start until the gateway lists it as connected."""
    async with Client(port, key) as client:
        while True:
            node.check()
            listed = await client.get("/v1/nodes")
            if any(found["connected"] for found in listed["data"] if found["name"] == node.name):
                return node.age
            await asyncio.sleep(0.02)
