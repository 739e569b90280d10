"""The group-commit journal: one writer per process turns what arrives while a commit is under way into
the next transaction (R8-R12).

Whoever calls ``execute`` is answered after the commit that holds its row. The transaction itself is never
cancelled with a caller.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

import structlog

from neurogrid.core.errors import OutcomeUnknown, Unavailable
from neurogrid.queue.ops import (
    Answer,
    Batch,
    Bill,
    Cancel,
    Canceled,
    Claimed,
    Duplicate,
    Evict,
    Expire,
    Expired,
    Finish,
    Finished,
    Insert,
    Inserted,
    Op,
    Renew,
    Replay,
    Requeue,
    Requeued,
    Want,
)
from neurogrid.queue.writer import ConnectionLost, RowRejected, Transient, Writer

if TYPE_CHECKING:
    from neurogrid.core.settings import JournalSettings

log = structlog.get_logger(__name__)

ORDER: tuple[type[Op], ...] = (Renew, Finish, Requeue, Evict, Cancel, Expire, Bill, Replay, Want, Insert)
RECONNECT_DELAYS = (0.05, 0.1, 0.2, 0.5)
BUSY_WAIT = 1.0
"""Seconds of expected waiting above which new tasks are refused (R12)."""
_SMOOTHING = 0.2


class RowRefused(Exception):
    """The database does not take this one row (R9)."""


@dataclass(slots=True, eq=False)
class _Entry:
    op: Op
    answer: asyncio.Future[Answer]
    taken: bool = False


@dataclass(slots=True)
class JournalStatistics:
    """Figures since start."""

    batches: int = 0
    rows: int = 0
    reconnects: int = 0
    batch_seconds: float = 0.0


@dataclass(slots=True)
class _Lanes:
    """What waits, by kind, with its bounds."""

    queues: dict[type[Op], deque[_Entry]] = field(default_factory=lambda: {kind: deque() for kind in ORDER})
    rows: int = 0
    bytes: int = 0

    def put(self, entry: _Entry) -> None:
        self.queues[type(entry.op)].append(entry)
        self.rows += 1
        self.bytes += entry.op.size

    def drop(self, entry: _Entry) -> None:
        self.queues[type(entry.op)].remove(entry)
        self._forget(entry)

    def take(self, rows: int, size: int) -> list[list[_Entry]]:
        """Remove and return the next batch: at least one entry, else within both bounds."""
        taken: list[list[_Entry]] = [[] for _ in ORDER]
        for kind, entries in zip(ORDER, taken, strict=True):
            queue = self.queues[kind]
            while queue:
                entry = queue[0]
                if rows <= 0 or (entry.op.size > size and any(taken)):
                    return taken
                queue.popleft()
                entry.taken = True
                rows -= 1
                size -= entry.op.size
                self._forget(entry)
                entries.append(entry)
        return taken

    def _forget(self, entry: _Entry) -> None:
        self.rows -= 1
        self.bytes -= entry.op.size


class Journal:
    """All writes of the hot path of one process."""

    def __init__(self, writer: Writer, settings: JournalSettings) -> None:
        """Write through ``writer`` within the bounds of ``settings``."""
        self._writer = writer
        self._settings = settings
        self._waiting = _Lanes()
        self._unanswered: set[_Entry] = set()
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
        for entry in self._unanswered:
            if not entry.answer.done():
                entry.answer.set_exception(self._late(entry))
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
        self._admit(op, patient=patient)
        entry = _Entry(op, asyncio.get_running_loop().create_future())
        self._waiting.put(entry)
        self._unanswered.add(entry)
        self._arrived.set()
        try:
            if patient:
                return await entry.answer
            async with asyncio.timeout(self._settings.max_wait):
                return await entry.answer
        except TimeoutError:
            raise self._late(entry) from None
        finally:
            self._unanswered.discard(entry)
            if not entry.taken:
                self._waiting.drop(entry)

    def _admit(self, op: Op, *, patient: bool) -> None:
        if self._closing:
            msg = "The server is shutting down. Try again; another one will answer."
            raise Unavailable(msg)
        if patient or not isinstance(op, Insert):
            return
        waiting, bounds = self._waiting, self._settings
        batches = waiting.rows / bounds.batch_rows + waiting.bytes / bounds.batch_bytes
        full = waiting.rows >= bounds.queue_rows or waiting.bytes + op.size > bounds.queue_bytes
        if full or batches * self._batch_seconds > BUSY_WAIT:
            msg = "The server has more to write than it can keep up with. Try again in a moment."
            raise Unavailable(msg, retry_after=2)

    def _late(self, entry: _Entry) -> Unavailable:
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

    async def _commit(self, entries: list[list[_Entry]]) -> None:
        started = time.perf_counter()
        try:
            answers = await self._write(Batch.of([[entry.op for entry in kind] for kind in entries]))
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
                if not entry.answer.done():
                    entry.answer.set_result(answer)

    async def _write(self, batch: Batch) -> Sequence[Sequence[Answer]]:
        """Repeat ``batch`` until its outcome is known (R8)."""
        repeat = False
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
                repeat = True
            except Transient as error:
                log.info("journal.repeat", error=str(error))
            failures += 1

    async def _bisect(self, entries: list[list[_Entry]], error: Exception) -> None:
        """Find the row that spoils a batch, so that only its own caller fails (R9)."""
        flat = [entry for kind in entries for entry in kind]
        if len(flat) == 1:
            if not flat[0].answer.done():
                flat[0].answer.set_exception(RowRefused(str(error)))
            return
        middle = len(flat) // 2
        for half in (flat[:middle], flat[middle:]):
            await self._commit([[entry for entry in half if type(entry.op) is kind] for kind in ORDER])
