"""Queries on the answers that keys stand for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.core.db import Database
from neurogrid.core.prepared import Row
from neurogrid.idempotency.tables import IdempotentResponse as Kept

FORGET_LIMIT = 1000
_PLACE = (Kept.owner_id, Kept.digest)


@dataclass(frozen=True, slots=True)
class Claim:
    """A key of an owner, by its digest, and the request it is to stand for until it expires."""

    owner: str
    digest: str
    body_hash: str
    expires_at: datetime


class ResponseStore:
    """Reads and writes the table of this feature."""

    def __init__(self, database: Database) -> None:
        """Use ``database``."""
        self._database = database

    async def find(self, owner: str, digest: str) -> Row | None:
        """Return what a key stands for, expired or not."""
        return await self._database.first(
            select(Kept.body_hash, Kept.status, Kept.headers, Kept.body, Kept.sealed, Kept.expires_at).where(
                Kept.owner_id == owner, Kept.digest == digest
            )
        )

    async def claim(self, transaction: AsyncSession, claim: Claim, moment: datetime) -> bool:
        """Take a key that is free or expired; ``False`` if it is neither.

        Waits for another transaction that is about to take it.
        """
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        statement = insert(Kept).values(
            owner_id=claim.owner, digest=claim.digest, body_hash=claim.body_hash, status=None, headers="{}",
            body=b"", sealed=False, expires_at=claim.expires_at,
        )  # fmt: skip
        fresh = {
            name: getattr(statement.excluded, name)
            for name in ("body_hash", "status", "headers", "body", "sealed", "expires_at")
        }
        taken = await transaction.execute(
            statement.on_conflict_do_update(
                index_elements=_PLACE, set_=fresh, where=Kept.expires_at <= moment
            ).returning(Kept.digest)
        )
        return taken.first() is not None

    async def answer(self, transaction: AsyncSession, claim: Claim, **answer: Any) -> bool:
        """Write the answer beside a claim; ``False`` if there is one already, or the claim is gone."""
        mine = (Kept.owner_id == claim.owner, Kept.digest == claim.digest)
        open_ = (Kept.expires_at == claim.expires_at, Kept.status.is_(None))
        done = update(Kept).where(*mine, *open_).values(**answer).returning(Kept.digest)
        return (await transaction.execute(done)).first() is not None

    async def forget(self, moment: datetime) -> int:
        """Delete some of the rows that expired before ``moment``; return how many."""
        spent = select(*_PLACE).where(Kept.expires_at <= moment).limit(FORGET_LIMIT)
        gone = delete(Kept).where(tuple_(*_PLACE).in_(spent.with_for_update(skip_locked=True)))
        async with self._database.transaction() as transaction:
            return len((await transaction.execute(gone.returning(Kept.digest))).all())
