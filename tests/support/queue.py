"""Rows for the queue, and a database's stand-in for the journal."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from neurogrid.core.ids import new_id
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.answers import Answer
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Batch, Insert, Op, SessionRef
from neurogrid.queue.policy import Priority
from neurogrid.queue.writer import ConnectionLost, RowRejected


def insertion(**fields: Any) -> Insert:
    """Return a task to insert; ``fields`` replace what is usual."""
    usual: dict[str, Any] = {
        "id": new_id(),
        "owner": new_id(),
        "lane": "echo",
        "model": "echo",
        "model_version": "1",
        "priority": Priority.NORMAL.value,
        "input": '"hi"',
        "parameters": "{}",
        "input_hash": "hash",
        "max_attempts": 3,
    }
    return Insert(**{**usual, **fields})


def some_session(gen: int = 1) -> SessionRef:
    """Return a session that exists nowhere."""
    return SessionRef(new_id(), gen, "node")


@dataclass
class Written:
    """One batch that reached the stand-in."""

    batch: Batch
    repeat: bool

    @property
    def ops(self) -> list[Op]:
        """All rows, in the order of execution."""
        return [op for kind in self.batch.lists() for op in kind]

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return sum(op.size for op in self.ops)


class ScriptedWriter:
    """A ``Writer`` that answers every row with ``True``.

    ``failures`` are raised one a batch, first come first served. A row whose ``input`` is ``poison`` is never
    accepted. While ``open`` is not set, a commit stays under way. ``away`` refuses connections.
    """

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.failures: deque[Exception | None] = deque()
        self.open = asyncio.Event()
        self.open.set()
        self.under_way = asyncio.Event()
        self.away = False
        self.connects = 0
        self.closed = False

    async def connect(self) -> None:
        self.connects += 1
        if self.away:
            raise ConnectionLost("refused")

    async def write(self, batch: Batch, *, repeat: bool) -> Sequence[Sequence[Answer]]:
        written = Written(batch, repeat)
        self.written.append(written)
        self.under_way.set()
        await self.open.wait()
        failure = self.failures.popleft() if self.failures else None
        if failure is not None:
            raise failure
        if any(isinstance(op, Insert) and op.input == "poison" for op in written.ops):
            raise RowRejected("poison")
        return [[True] * len(kind) for kind in batch.lists()]

    async def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def journal(writer: ScriptedWriter, **settings: Any) -> AsyncIterator[Journal]:
    """Run a journal on ``writer`` as long as the block."""
    opened = Journal(writer, JournalSettings(**settings))
    await opened.start()
    try:
        yield opened
    finally:
        writer.open.set()
        await opened.close()


async def begin(journal: Journal, ops: Sequence[Op], **options: Any) -> list[asyncio.Task[Any]]:
    """Have every one of ``ops`` wait in the journal, each with a caller of its own."""
    callers = [asyncio.ensure_future(journal.execute(op, **options)) for op in ops]
    for _ in range(3):
        await asyncio.sleep(0)
    return callers


async def occupied(writer: ScriptedWriter, journal: Journal) -> asyncio.Task[Any]:
    """Have a commit under way, so that what follows gathers behind it."""
    writer.open.clear()
    writer.under_way.clear()
    (first,) = await begin(journal, [insertion()])
    await writer.under_way.wait()
    return first


async def accepts(journal: Journal, op: Op | None = None) -> bool:
    """Tell whether ``journal`` writes a row."""
    answer: Any = await journal.execute(op or insertion())
    return bool(answer)
