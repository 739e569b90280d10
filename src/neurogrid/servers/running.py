"""Both servers for as long as a block runs.

They listen on sockets in folders that only their user may enter, never on an address. What an earlier run
left behind when it was killed is stopped first; Valkey keeps nothing, PostgreSQL recovers by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from neurogrid.servers.postgres import Postgres
from neurogrid.servers.valkey import Valkey


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers can be reached."""

    database_url: str
    redis_url: str


@contextmanager
def running_servers(directory: Path) -> Iterator[Servers]:
    """Run both servers with their data below ``directory``. Raises ``ServerFailed`` when one does not start."""
    directory.mkdir(parents=True, exist_ok=True)
    with Postgres(directory / "postgres") as postgres, Valkey(directory / "valkey") as valkey:
        yield Servers(postgres.url, valkey.url)
