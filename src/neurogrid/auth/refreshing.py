"""Refresh tokens: each is good for one use, and is exchanged for a successor.

If one is presented again, either its owner or a thief has been left with an old one; nobody can tell who, so the
whole session ends. One thing is excepted: two windows of one browser that refresh at the same moment, and a client
whose answer was lost, present the same token within seconds. They get the *same* successor, which is a keyed hash of
the token presented, as long as that one is unused. So the family never forks, and a theft shows as soon as both have
gone on.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import tokens
from neurogrid.auth.tables import AuthSession, RefreshToken
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row
from neurogrid.core.settings_auth import AuthSettings

_SUCCESSOR = "refresh token successor"


class RefreshTokens:
    """Keeps the refresh tokens of sessions, as hashes; the callers hold the sessions."""

    def __init__(self, database: Database, keyring: Keyring, settings: AuthSettings) -> None:
        """Keep them in ``database``; successors are made with the keys of ``keyring``."""
        self._database = database
        self._keyring = keyring
        self._settings = settings

    async def keep(
        self, transaction: AsyncSession, token: tokens.Secret, session_id: str, ends: datetime
    ) -> datetime:
        """Store a refresh token and return until when it is good: never longer than its session, which ``ends``."""
        moment = now()
        expires = min(moment + timedelta(seconds=self._settings.refresh_token), ends)
        transaction.add(
            RefreshToken(
                hash=token.hash, session_id=session_id, created_at=moment, expires_at=expires,
                used_at=None, successor=None,
            )
        )  # fmt: skip
        await transaction.flush()
        return expires

    async def use(self, transaction: AsyncSession, text: str) -> tuple[str, tokens.Secret] | None:
        """Use a token up; return its session, and its successor, which is to be kept. ``None`` if it is not fresh."""
        moment = now()
        successor = tokens.successor(text, self._keyring.newest(_SUCCESSOR).value)
        session_id = await transaction.scalar(
            update(RefreshToken)
            .where(
                RefreshToken.hash == tokens.digest(text),
                RefreshToken.used_at.is_(None),
                RefreshToken.expires_at > moment,
            )
            .values(used_at=moment, successor=successor.hash)
            .returning(RefreshToken.session_id)
        )
        return None if session_id is None else (session_id, successor)

    async def used_before(self, transaction: AsyncSession, text: str) -> Row | None:
        """Return ``session_id``, ``used_at`` and ``successor`` of a token that was used, if it is one."""
        found = await transaction.execute(
            select(RefreshToken.session_id, RefreshToken.used_at, RefreshToken.successor).where(
                RefreshToken.hash == tokens.digest(text), RefreshToken.used_at.is_not(None)
            )
        )
        row = found.mappings().first()
        return dict(row) if row is not None else None

    async def successor(
        self, transaction: AsyncSession, text: str, used: Row
    ) -> tuple[tokens.Secret, datetime] | None:
        """Return the successor of a token that was ``used`` a moment ago, with its end, while nobody has used it."""
        if now() - used["used_at"] > timedelta(seconds=self._settings.refresh_grace):
            return None
        expires = await transaction.scalar(
            select(RefreshToken.expires_at).where(
                RefreshToken.hash == used["successor"], RefreshToken.used_at.is_(None)
            )
        )
        for key in self._keyring.derive(_SUCCESSOR):
            again = tokens.successor(text, key.value)
            if expires is not None and again.hash == used["successor"]:
                return again, expires
        return None

    async def session_of(self, text: str) -> tuple[str, str] | None:
        """Return user and session of a refresh token, used or not, if there is such a one."""
        row = await self._database.first(
            select(AuthSession.user_id, AuthSession.id)
            .join(RefreshToken, RefreshToken.session_id == AuthSession.id)
            .where(RefreshToken.hash == tokens.digest(text))
        )
        return (row["user_id"], row["id"]) if row else None

    async def forget_expired(self, transaction: AsyncSession) -> None:
        """Delete tokens that are expired."""
        await transaction.execute(delete(RefreshToken).where(RefreshToken.expires_at < now()))
