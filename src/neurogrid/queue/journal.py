"""The group-commit journal: one writer per process turns what arrives while a commit is under way into
the next transaction (R8-R12).

Whoever calls ``execute`` is answered after the commit that holds its row, and whoever brings many after the last one.
The transaction itself is never cancelled with a caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import structlog

from neurogrid.core.errors import OutcomeUnknown, Unavailable
from neurogrid.queue.answers import (
    Admitted,
    Answer,
    Canceled,
    Claimed,
    Duplicate,
    Expired,
    Finished,
    Heirs,
    Inserted,
    Requeued,
)
from neurogrid.queue.ops import (
    Admit,
    Batch,
    Bill,
    Cancel,
    Evict,
    Expire,
    Finish,
    Insert,
    Op,
    Renew,
    Replay,
    Requeue,
    Settle,
    Want,
)
from neurogrid.queue.waiting import ORDER, Caller, Entry, Waiting
from neurogrid.queue.writer import ConnectionLost, RowRejected, Transient, Writer

if TYPE_CHECKING:
    from neurogrid.core.settings import JournalSettings

log = structlog.get_logger(__name__)

RECONNECT_DELAYS = (0.05, 0.1, 0.2, 0.5)
BUSY_WAIT = 1.0
"""Seconds of expected waiting above which new tasks are refused (R12)."""
_SMOOTHING = 0.2


class RowRefused(Exception):
    """The database does not take this one row (R9)."""


@dataclass(slots=True)
class JournalStatistics:
    """Figures since start."""

    batches: int = 0
    rows: int = 0
    reconnects: int = 0
    batch_seconds: float = 0.0


class Journal:
    """All writes of the hot path of one process."""

    def __init__(self, writer: Writer, settings: JournalSettings) -> None:
        """Write through ``writer`` within the bounds of ``settings``."""
        self._writer = writer
        self._settings = settings
        self._waiting = Waiting()
        self._callers: dict[Caller, list[Entry]] = {}
        """Who waits, and for which rows."""
        self._arrived = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._closing = False
        self._connected = False
        self._batch_seconds = 0.002
        self.statistics = JournalStatistics()

    @property
    def connected(self) -> bool:
        """Whether the last contact with the database succeeded."""
        return self._connected

    async def start(self) -> None:
        """Connect and begin to write. Raises ``ConnectionLost``."""
        await self._writer.connect()
        self._connected = True
        self._loop_task = asyncio.create_task(self._run(), name="journal")

    async def close(self) -> None:
        """Write what waits, then stop; what a dead database keeps from being written is given up."""
        self._closing = True
        self._arrived.set()
        if self._loop_task is not None:
            await asyncio.wait([self._loop_task], timeout=self._settings.max_wait)
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        for entries in self._callers.values():
            self._give_up(entries)
        await self._writer.close()

    @overload
    async def execute(self, op: Insert, *, patient: bool = False) -> Inserted | Duplicate: ...
    @overload
    async def execute(self, op: Finish, *, patient: bool = False) -> Finished | None: ...
    @overload
    async def execute(self, op: Requeue | Replay, *, patient: bool = False) -> Requeued | None: ...
    @overload
    async def execute(self, op: Cancel, *, patient: bool = False) -> Canceled | None: ...
    @overload
    async def execute(self, op: Expire, *, patient: bool = False) -> Expired | None: ...
    @overload
    async def execute(self, op: Settle, *, patient: bool = False) -> Heirs: ...
    @overload
    async def execute(self, op: Admit, *, patient: bool = False) -> Admitted: ...
    @overload
    async def execute(self, op: Want, *, patient: bool = False) -> Claimed | None: ...
    @overload
    async def execute(self, op: Renew | Evict | Bill, *, patient: bool = False) -> bool | None: ...
    async def execute(self, op: Op, *, patient: bool = False) -> Answer:
        """Write one row and return what became of it, after the commit.

        A ``patient`` caller waits as long as it takes, at most until the journal closes. Others get
        ``Unavailable`` when the journal is overloaded or away, or ``OutcomeUnknown`` when their row may or
        may not have been written, after ``max_wait`` seconds. Raises ``RowRefused`` when the database does
        not take the row.
        """
        (answer,) = await self.execute_all((op,), patient=patient)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def execute_all(self, ops: Sequence[Op], *, patient: bool = False) -> list[Answer | Exception]:
        """Write many rows and return what became of each, in their order, after the last one's commit.

        Each row fares as if it came by itself to ``execute``: what that would raise stands in its place. They need
        not be in one transaction.
        """
        caller = Caller(len(ops))
        entries = [self._brought(op, caller, place, patient=patient) for place, op in enumerate(ops)]
        if not caller.left:
            return caller.answers
        self._callers[caller] = entries
        self._arrived.set()
        # A plain timer, since a timeout context costs more than the rest of this.
        loop = asyncio.get_running_loop()
        limit = None if patient else loop.call_later(self._settings.max_wait, self._give_up, entries)
        try:
            await caller.done
        finally:
            if limit is not None:
                limit.cancel()
            del self._callers[caller]
            for entry in entries if caller.left else ():
                self._withdraw(entry)
        return caller.answers

    def _brought(self, op: Op, caller: Caller, place: int, *, patient: bool) -> Entry:
        """Let a row wait for its turn, or refuse it."""
        entry = Entry(op, caller, place)
        refusal = self._refusal(entry, patient=patient)
        if refusal is None:
            self._waiting.put(entry)
        else:
            entry.taken = True
            entry.answer(refusal)
        return entry

    def _give_up(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if not entry.answered:
                entry.answer(self._late(entry))
                self._withdraw(entry)  # at once: what is said not to be written must not be

    def _withdraw(self, entry: Entry) -> None:
        if not entry.taken:
            entry.taken = True
            self._waiting.drop(entry)

    def _refusal(self, entry: Entry, *, patient: bool) -> Unavailable | None:
        if self._closing:
            msg = "The server is shutting down. Try again; another one will answer."
            return Unavailable(msg)
        if patient or not isinstance(entry.op, Insert):
            return None
        waiting, bounds = self._waiting, self._settings
        batches = waiting.rows / bounds.batch_rows + waiting.bytes / bounds.batch_bytes
        full = waiting.rows >= bounds.queue_rows or waiting.bytes + entry.size > bounds.queue_bytes
        if full or batches * self._batch_seconds > BUSY_WAIT:
            msg = "The server has more to write than it can keep up with. Try again in a moment."
            return Unavailable(msg, retry_after=2)
        return None

    def _late(self, entry: Entry) -> Unavailable:
        if not entry.taken:
            msg = "The database is away. Nothing was written; try again in a moment."
            return Unavailable(msg, retry_after=5)
        change = f"task {entry.op.id} was accepted" if isinstance(entry.op, Insert) else "this was done"
        msg = f"The database did not answer in time; whether {change} is unknown."
        return OutcomeUnknown(msg, retry_after=5)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting.rows:
                await self._commit(self._waiting.take(self._settings.batch_rows, self._settings.batch_bytes))
            if self._closing:
                return

    async def _commit(self, entries: list[list[Entry]], *, repeat: bool = False) -> None:
        started = time.perf_counter()
        try:
            batch = Batch.of([[entry.op for entry in kind] for kind in entries])
            answers = await self._write(batch, repeat=repeat)
        except Exception as error:  # whatever a row does to the driver, the others go on
            if not isinstance(error, RowRejected):
                log.exception("journal.write_failed")
            await self._bisect(entries, error)
            return
        took = time.perf_counter() - started
        self._batch_seconds += (took - self._batch_seconds) * _SMOOTHING
        self.statistics.batches += 1
        self.statistics.batch_seconds += took
        for kind, found in zip(entries, answers, strict=True):
            self.statistics.rows += len(kind)
            for entry, answer in zip(kind, found, strict=True):
                entry.answer(answer)

    async def _write(self, batch: Batch, *, repeat: bool) -> Sequence[Sequence[Answer]]:
        """Repeat ``batch`` until its outcome is known (R8)."""
        failures = 0
        while True:
            try:
                if failures:
                    await asyncio.sleep(RECONNECT_DELAYS[min(failures, len(RECONNECT_DELAYS)) - 1])
                if not self._connected:
                    await self._writer.connect()
                    self._connected = True
                    self.statistics.reconnects += 1
                return await self._writer.write(batch, repeat=repeat)
            except ConnectionLost as error:
                if self._connected or failures == 0:
                    log.warning("journal.connection_lost", error=str(error))
                self._connected = False
            except Transient as error:
                log.info("journal.repeat", error=str(error))
            repeat = True
            failures += 1

    async def _bisect(self, entries: list[list[Entry]], error: Exception) -> None:
        """Find the row that spoils a batch, so that only its own caller fails (R9)."""
        flat = [entry for kind in entries for entry in kind]
        if len(flat) == 1:
            flat[0].answer(RowRefused(str(error)))
            return
        middle = len(flat) // 2
        for half in (flat[:middle], flat[middle:]):
            await self._commit(
                [[entry for entry in half if type(entry.op) is kind] for kind in ORDER], repeat=True
            )
