"""A real database under test: rows written through the journal's writer, and read back as they stand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from sqlalchemy import Executable, Table, delete, select, update

from neurogrid.core.db import Database
from neurogrid.core.ids import new_id
from neurogrid.core.prepared import Row
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.answers import Claimed
from neurogrid.queue.build import make_journal
from neurogrid.queue.ops import Batch, Insert, Op, SessionRef, Want
from neurogrid.queue.policy import RetryPolicy
from neurogrid.queue.tables import NodeSession, Task, TaskEvent
from neurogrid.queue.upkeep import Upkeep
from neurogrid.queue.waiting import ORDER
from neurogrid.queue.writer import Writer
from tests.support.queue import insertion

LEASE = 60.0
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TASKS = cast("Table", Task.__table__)
EVENTS = cast("Table", TaskEvent.__table__)
SESSIONS = cast("Table", NodeSession.__table__)


@dataclass
class StoredEvent:
    """A row of ``task_events``."""

    id: str
    type: str
    data: Any
    xid: int
    owner: str


class Truth:
    """The tables of the queue, with short ways to bring them into a state and to look at them."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self.database = database
        self.writer = writer
        self.upkeep = Upkeep(database, new_id(), LEASE, RetryPolicy())

    async def do(self, *ops: Op, repeat: bool = False) -> list[Any]:
        """Write ``ops`` as one batch and return their answers, in the order of ``ops``."""
        kinds = [[op for op in ops if type(op) is kind] for kind in ORDER]
        answers = await self.writer.write(Batch.of(kinds), repeat=repeat)
        left = [list(found) for found in answers]
        return [left[ORDER.index(type(op))].pop(0) for op in ops]

    async def one(self, op: Op, *, repeat: bool = False) -> Any:
        """Write one row and return its answer."""
        (answer,) = await self.do(op, repeat=repeat)
        return answer

    async def session(self, node: str = "node") -> SessionRef:
        """Attach a node that is new to the grid."""
        return await self.upkeep.attach(new_id(), node, None, embedded=False)

    async def queued(self, **fields: Any) -> Insert:
        """Insert a task into the queue."""
        op = insertion(**fields)
        await self.one(op)
        return op

    async def running(self, session: SessionRef, **fields: Any) -> Claimed:
        """Insert a task and have ``session`` claim it."""
        op = await self.queued(**{"lane": new_id(), **fields})
        claimed = await self.one(Want(op.lane, session))
        assert isinstance(claimed, Claimed)
        return claimed

    async def task(self, task: str) -> Row:
        """Return a task's row."""
        row = await self.database.first(select(TASKS).where(TASKS.c.id == task))
        assert row is not None
        return row

    async def events(self, task: str) -> list[StoredEvent]:
        """Return the state events of a task, in order."""
        query = select(EVENTS).where(EVENTS.c.task_id == task).order_by(EVENTS.c.attempt, EVENTS.c.seq)
        return [
            StoredEvent(
                f"{row['attempt']}-{row['seq']}",
                row["type"],
                orjson.loads(row["data"]),
                row["xid"],
                row["owner_id"],
            )
            for row in await self.database.all(query)
        ]

    async def history(self, task: str) -> list[tuple[str, str]]:
        """Return ids and types of the state events of a task, in order."""
        return [(event.id, event.type) for event in await self.events(task)]

    async def sessions(self) -> dict[str, Row]:
        """Return all sessions by id."""
        return {row["id"]: row for row in await self.database.all(select(SESSIONS))}

    async def alter(self, task: str, **values: Any) -> None:
        """Bring a task's row into a state no operation leads to at once."""
        await self.change(update(TASKS).where(TASKS.c.id == task).values(**values))

    async def expire(self, *sessions: SessionRef) -> None:
        """Let the leases of ``sessions`` run out."""
        ids = [session.id for session in sessions]
        await self.change(update(SESSIONS).where(SESSIONS.c.id.in_(ids)).values(lease_until=LONG_AGO))

    async def forget(self, session: SessionRef) -> None:
        """Delete a session, whatever it holds."""
        await self.change(delete(SESSIONS).where(SESSIONS.c.id == session.id))

    async def forget_events(self, task: str, *, after: int) -> None:
        """Delete the events of the attempts of a task after the one given."""
        await self.change(delete(EVENTS).where(EVENTS.c.task_id == task, EVENTS.c.attempt > after))

    async def change(self, statement: Executable) -> None:
        """Change what no operation changes."""
        async with self.database.transaction() as transaction:
            await transaction.execute(statement)


@asynccontextmanager
async def truth_of(database_url: str) -> AsyncIterator[Truth]:
    """Open a database as long as the block."""
    database = Database(database_url)
    writer = make_journal(database, JournalSettings())._writer
    await writer.connect()
    try:
        yield Truth(database, writer)
    finally:
        await writer.close()
        await database.close()
