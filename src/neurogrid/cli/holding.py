"""Locks by which one process holds what only one may use; the system frees them when it ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from neurogrid.cli.failures import Failure

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from neurogrid.core.settings import Settings


@contextmanager
def held(path: Path, complaint: str, hint: str) -> Iterator[None]:
    """Hold ``path``, a file that is only there for this. Raises ``Failure`` when another process does."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(complaint, hint=hint) from None
        yield


def only_gateway(settings: Settings) -> AbstractContextManager[None]:
    """Hold the SQLite file for the one gateway that may serve on it (R29); PostgreSQL takes any number.

    Raises ``Failure`` when another gateway has it.
    """
    from sqlalchemy import make_url

    file = make_url(settings.effective_database_url).database if settings.on_sqlite else None
    if not file or file == ":memory:":
        return nullcontext()
    return held(
        Path(f"{file}.lock"),
        f"another gateway serves on {file} already",
        "Stop it, or set NEUROGRID_DATABASE_URL and NEUROGRID_REDIS_URL: several gateways take PostgreSQL and Redis.",
    )
