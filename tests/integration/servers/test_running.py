"""The private servers of ``up --servers``: they start, keep what they must, stop, and survive a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from neurogrid.servers.folders import short_folder
from neurogrid.servers.running import Servers, running_servers
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(300)

HOLDER = """
import sys, time
from pathlib import Path
from neurogrid.servers.running import running_servers
with running_servers(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(run_directory: Path) -> Path:
    """A folder that PostgreSQL's user may pass; pytest shuts its own ones to others whenever it starts."""
    made = run_directory / uuid.uuid4().hex
    made.mkdir()
    return made


def execute(servers: Servers, statement: str) -> object:
    async def run() -> object:
        engine = create_async_engine(servers.database_url)
        try:
            async with engine.begin() as connection:
                result = await connection.execute(text(statement))
                return result.scalar() if result.returns_rows else None
        finally:
            await engine.dispose()

    return asyncio.run(run())


def server_processes(directory: Path) -> list[str]:
    return [
        process.info["name"]
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["cwd"] and process.info["cwd"].startswith(str(directory))
    ]


def test_they_work_and_stop(folder: Path) -> None:
    """Both answer while the block runs; PostgreSQL keeps its data; afterwards nothing runs."""
    with running_servers(folder / "servers") as servers:
        execute(servers, "CREATE TABLE kept AS SELECT 42 AS answer")
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.ping()
        addresses = {
            connection.laddr
            for process in psutil.process_iter(["cwd"])
            if process.info["cwd"] and process.info["cwd"].startswith(str(folder))
            for connection in process.net_connections("inet")
        }
        assert addresses == set()
    assert server_processes(folder) == []
    with running_servers(folder / "servers") as servers:
        assert execute(servers, "SELECT answer FROM kept") == 42


def test_they_start_after_a_kill(folder: Path) -> None:
    """What a killed process left running is replaced, and what it committed is there."""
    directory = folder / "servers"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"up\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(30)
    holder.stdout.close()
    assert server_processes(directory)
    with running_servers(directory) as servers:
        assert execute(servers, "SELECT 1") == 1
    until_blocking(lambda: server_processes(directory) == [], what="nothing is left")


def test_a_stale_pid_file_misleads_nobody(folder: Path) -> None:
    """After a restart of the machine the number in the pid file may be another process's."""
    directory = folder / "servers"
    with running_servers(directory):
        pass
    (directory / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getppid()}\n/x\n")
    with running_servers(directory) as servers:
        assert execute(servers, "SELECT 1") == 1


def test_long_paths_are_no_hindrance(folder: Path) -> None:
    """A data directory whose path is too long for a socket works, too, spaces and quotes included."""
    directory = folder / ("long " * 15).strip() / "it's" / "servers"
    with running_servers(directory) as servers:
        assert execute(servers, "SELECT 1") == 1
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.ping()
        short = [short_folder(directory / name) for name in ("postgres", "valkey")]
        assert all(path.exists() for path in short)
    assert not any(path.exists() for path in short), "nothing is left outside of the directory"
