"""What can be read off the journal's statements on PostgreSQL, whatever the rows."""

from __future__ import annotations

import asyncio
import pkgutil
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

import neurogrid
import neurogrid.queue
from neurogrid.core.ids import new_id
from neurogrid.protocol.messages import Usage
from neurogrid.queue.ops import (
    Admit,
    Batch,
    Bill,
    Cancel,
    Evict,
    Expire,
    Finish,
    Op,
    Renew,
    Replay,
    Requeue,
    Settle,
)
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.postgres import PostgresWriter
from neurogrid.queue.waiting import ORDER
from neurogrid.queue.writer import ConnectionLost, RowRejected, Transient
from tests.support.queue import insertion, some_session

MAKE: dict[str, Callable[[], Op]] = {
    "renew": lambda: Renew(some_session(), 10.0),
    "finish": lambda: Finish(new_id(), 1, Status.COMPLETED, 2),
    "requeue": lambda: Requeue(new_id(), 1, Status.QUEUED, Charge.NONE, "handed_back"),
    "evict": lambda: Evict(some_session()),
    "cancel": lambda: Cancel(new_id()),
    "expire": lambda: Expire(new_id()),
    "replay": lambda: Replay(new_id(), new_id()),
    "bill": lambda: Bill(new_id(), 2, Usage()),
    "settle": lambda: Settle(new_id()),
    "admit": lambda: Admit(new_id()),
    "insert": insertion,
}
WRITTEN = re.compile(r"(?:INSERT INTO|(?<!FOR )(?<!KEY )(?<!DO )UPDATE|DELETE FROM)\s+(\w+)")
CHANGED = re.compile(r"(?:(?<!FOR )(?<!KEY )(?<!DO )UPDATE|DELETE FROM)\s+(\w+)")
OF_THE_ROW = {"tasks", "task_events", "idempotency_keys", "node_sessions"}
ONLY_ADDED = {"usage_deltas", "usage_archive"}


class Sent(Exception):
    """Ends a batch at its first statement."""

    def __init__(self, statement: str, columns: tuple[Any, ...]) -> None:
        super().__init__(statement)
        self.statement = statement
        self.columns = columns


class Wire:
    """A connection that raises what its test wants at the first statement."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def is_closed(self) -> bool:
        return False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    async def fetch(self, statement: str, *columns: Any) -> list[Any]:
        raise self._error or Sent(statement, columns)


async def write(wire: Wire, ops: list[Op]) -> None:
    writer = PostgresWriter(make_url("postgresql://nowhere/nothing"))
    writer._connection = wire
    await writer.write(Batch.of([[op for op in ops if type(op) is kind] for kind in ORDER]), repeat=False)


@pytest.mark.parametrize("kind", MAKE)
def test_rows_are_locked_in_the_order_of_their_keys(kind: str) -> None:
    """R11: however a batch is put together, each statement gets its rows, or takes its locks, sorted by key."""
    ops = [MAKE[kind]() for _ in range(50)]
    with pytest.raises(Sent) as sent:
        asyncio.run(write(Wire(), ops[::-1]))
    keys = sent.value.columns[0]
    assert len(keys) == len(ops)
    assert keys == sorted(keys) or "ORDER BY t.id FOR UPDATE OF t" in sent.value.statement


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (asyncpg.SerializationError, Transient),
        (asyncpg.DeadlockDetectedError, Transient),
        (asyncpg.LockNotAvailableError, Transient),
        (asyncpg.UntranslatableCharacterError, RowRejected),
        (asyncpg.NumericValueOutOfRangeError, RowRejected),
        (asyncpg.NotNullViolationError, RowRejected),
        (asyncpg.CheckViolationError, RowRejected),
        (asyncpg.ConnectionDoesNotExistError, ConnectionLost),
        (asyncpg.AdminShutdownError, ConnectionLost),
        (asyncpg.TooManyConnectionsError, ConnectionLost),
        (asyncpg.IdleInTransactionSessionTimeoutError, ConnectionLost),
        (ConnectionResetError, ConnectionLost),
        (TimeoutError, ConnectionLost),
    ],
)
def test_errors_mean_what_their_sqlstate_says(error: type[Exception], meaning: type[Exception]) -> None:
    """R9: 40001, 40P01 and 55P03 repeat the batch, 22 and 23 blame a row, what concerns the server reconnects."""
    with pytest.raises(meaning):
        asyncio.run(write(Wire(error("as the server says")), [insertion()]))


def test_the_journal_writes_no_shared_counters() -> None:
    """R11: statements of the journal write rows of the task, its log, its key and its session; sums are rows of
    their own, for which nobody waits.
    """
    changed: set[str] = set()
    written: set[str] = set()
    for module in pkgutil.iter_modules(neurogrid.queue.__path__):
        if not module.name.startswith(("statements", "postgres", "sqlite")):
            continue
        values = vars(import_module(f"neurogrid.queue.{module.name}")).values()
        for statement in (value for value in values if isinstance(value, str)):
            written |= set(WRITTEN.findall(statement))
            changed |= set(CHANGED.findall(statement))
    assert written == OF_THE_ROW | ONLY_ADDED
    assert not changed & ONLY_ADDED


def test_nobody_listens_to_the_database() -> None:
    """R18: work is found by polling and hints over Redis; LISTEN would hold a connection and its snapshot."""
    for file in Path(neurogrid.__file__).parent.rglob("*.py"):
        source = file.read_text()
        assert not re.search(r"\bpg_notify\b|\.add_listener\(|[\"']\s*(LISTEN|NOTIFY) ", source), file
