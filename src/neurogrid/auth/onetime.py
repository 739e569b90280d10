"""Tokens for one purpose and one use, kept as hashes: links in mails, mostly."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import tokens
from neurogrid.auth.tables import OneTimeToken, User
from neurogrid.core.db import Database
from neurogrid.core.errors import BadRequest
from neurogrid.core.ids import new_id, now
from neurogrid.core.prepared import Row

SECOND_STEP: Final = "second step"
"""Purpose of the tickets of sign-ins that wait for a second factor."""


class BadToken(BadRequest):
    """The token of a mail is unknown, used or expired."""

    code, title = "bad_token", "The token is not valid"

    def __init__(self) -> None:
        super().__init__("The token is unknown, was used before, or is expired. Ask for another.")


class OneTimeTokens:
    """Makes and takes them."""

    def __init__(self, database: Database) -> None:
        """Keep them in ``database``."""
        self._database = database

    async def make(
        self, transaction: AsyncSession, prefix: str, purpose: str, user_id: str, lifetime: timedelta
    ) -> str:
        """Return a fresh token of a user; those made before for the same purpose are worth nothing."""
        await self.void(transaction, user_id, purpose)
        return await self.add(transaction, prefix, purpose, user_id, lifetime)

    async def add(
        self,
        transaction: AsyncSession,
        prefix: str,
        purpose: str,
        user_id: str,
        lifetime: timedelta,
        payload: str | None = None,
    ) -> str:
        """Return a fresh token of a user, beside those made before."""
        secret = tokens.make(prefix)
        transaction.add(
            OneTimeToken(
                id=new_id(),
                user_id=user_id,
                purpose=purpose,
                hash=secret.hash,
                payload=payload,
                attempts=0,
                created_at=now(),
                expires_at=now() + lifetime,
                used_at=None,
            )
        )
        await transaction.flush()
        return secret.text

    async def look_up(self, text: str, prefix: str, purpose: str) -> Row:
        """Return the user a token is for, without using it. Raises ``BadToken``."""
        row = await self.find(text, prefix, purpose)
        if row is None:
            raise BadToken
        return row

    async def find(self, text: str, prefix: str, purpose: str) -> Row | None:
        """Return the user a token is for, without using it; ``None`` if it is not good."""
        if not tokens.well_formed(text, prefix):
            return None
        return await self._database.first(
            select(User.id, User.email, User.role, User.email_verified_at)
            .join(OneTimeToken, OneTimeToken.user_id == User.id)
            .where(*_good(text, purpose, now()))
        )

    async def use(self, transaction: AsyncSession, text: str, prefix: str, purpose: str) -> str:
        """Use a token and return the id of its user. Raises ``BadToken``; of two at once one gets it."""
        user_id = await self.spend(transaction, text, prefix, purpose)
        if user_id is None:
            raise BadToken
        return user_id

    async def spend(self, transaction: AsyncSession, text: str, prefix: str, purpose: str) -> str | None:
        """Use a token and return the id of its user; ``None`` if it is not good. Of two at once one gets it."""
        if not tokens.well_formed(text, prefix):
            return None
        user_id: str | None = await transaction.scalar(
            update(OneTimeToken)
            .where(*_good(text, purpose, now()))
            .values(used_at=now())
            .returning(OneTimeToken.user_id)
        )
        return user_id

    async def attempt(self, text: str, prefix: str, purpose: str, most: int) -> Row | None:
        """Count a try to go on with a token and return its user and payload; ``None`` if it is not good, or after ``most``.

        It counts at once, whatever becomes of the try.
        """
        if not tokens.well_formed(text, prefix):
            return None
        async with self._database.transaction() as transaction:
            found = await transaction.execute(
                update(OneTimeToken)
                .where(*_good(text, purpose, now()), OneTimeToken.attempts < most)
                .values(attempts=OneTimeToken.attempts + 1)
                .returning(OneTimeToken.user_id, OneTimeToken.payload, OneTimeToken.attempts)
            )
            row = found.mappings().first()
            return dict(row) if row else None

    async def void(self, transaction: AsyncSession, user_id: str, purpose: str) -> None:
        """Make every token of a user for a purpose useless."""
        await transaction.execute(
            update(OneTimeToken)
            .where(
                OneTimeToken.user_id == user_id,
                OneTimeToken.purpose == purpose,
                OneTimeToken.used_at.is_(None),
            )
            .values(used_at=now())
        )

    async def forget(self) -> None:
        """Delete what is expired."""
        async with self._database.transaction() as transaction:
            await transaction.execute(delete(OneTimeToken).where(OneTimeToken.expires_at < now()))


def _good(text: str, purpose: str, moment: datetime) -> tuple:  # type: ignore[type-arg]
    return (
        OneTimeToken.hash == tokens.digest(text),
        OneTimeToken.purpose == purpose,
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > moment,
    )
