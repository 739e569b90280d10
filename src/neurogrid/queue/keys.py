"""Forgetting the idempotency keys of tasks that have expired; until then they are the journal's (R19)."""

from __future__ import annotations

from sqlalchemy import delete, select, tuple_

from neurogrid.core.db import Database
from neurogrid.core.ids import now
from neurogrid.queue.tables import IdempotencyKey

LIMIT = 1000


class SpentKeys:
    """Keeps the table of keys from growing."""

    def __init__(self, database: Database) -> None:
        """Delete from ``database``."""
        self._database = database

    async def forget(self) -> None:
        """Delete keys that have expired, a few at a time; the journal waits for no more than those."""
        while await self._forget_some() == LIMIT:
            pass

    async def _forget_some(self) -> int:
        place = (IdempotencyKey.owner_id, IdempotencyKey.key)
        spent = select(*place).where(IdempotencyKey.expires_at <= now()).limit(LIMIT)
        # Rows that the journal holds are left for the next time: whoever waits for nobody cannot deadlock (R11).
        gone = delete(IdempotencyKey).where(tuple_(*place).in_(spent.with_for_update(skip_locked=True)))
        async with self._database.transaction() as transaction:
            return len((await transaction.execute(gone.returning(IdempotencyKey.key))).all())
