"""What the journal needs of a database: one held connection that executes batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from neurogrid.queue.answers import Answer
from neurogrid.queue.ops import Batch


class ConnectionLost(Exception):
    """The connection broke or the server is away; whether the batch was committed is unknown (R8)."""


class Transient(Exception):
    """The database rolled back and says it may succeed if repeated (40001, 40P01, 55P03)."""


class RowRejected(Exception):
    """Some row of the batch is not acceptable (SQLSTATE 22/23), and was not written (R9)."""


class Writer(Protocol):
    """Executes batches on one connection, one after the other."""

    async def connect(self) -> None:
        """(Re)open the connection. Raises ``ConnectionLost``."""

    async def write(self, batch: Batch, *, repeat: bool) -> Sequence[Sequence[Answer]]:
        """Commit ``batch`` and answer each operation, list by list, in the order of ``Batch.lists()``.

        ``repeat`` says that the batch, or a part of it, may already have been committed: rows that answer
        nothing are read, and count as done when they carry the operation's ``write_id`` (R8).
        Raises ``ConnectionLost``, ``Transient``, ``RowRejected``: then a part may have been committed.
        """

    async def close(self) -> None:
        """Close the connection; idempotent."""
