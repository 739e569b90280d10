"""Sessions: a sign-in that lasts, how it goes on by refresh tokens (``refreshing``), and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import tokens
from neurogrid.auth.access import AccessTokens
from neurogrid.auth.audit import Audit
from neurogrid.auth.refreshing import RefreshTokens
from neurogrid.auth.tables import AuthSession, User
from neurogrid.auth.trail import Note
from neurogrid.auth.visitors import Visitor, printable
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.errors import NotFound, Unauthenticated
from neurogrid.core.ids import is_id, new_id, now
from neurogrid.core.prepared import Row
from neurogrid.core.settings_auth import AuthSettings

log = structlog.get_logger(__name__)

SHOWN = 100
KEPT = timedelta(days=30)
"""How long an ended session is kept, to tell where an account was used from."""
_BAD = (
    "The refresh token is not valid: it is unknown, used, expired, or its session has ended. Sign in again."
)


@dataclass(frozen=True, slots=True)
class Issued:
    """What a sign-in or a refresh gives; the tokens are shown this once."""

    user_id: str
    session_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    refresh_expires_in: int


Check = Callable[[str], None]
"""Given the id of the session, raises unless the request may act for it."""
Forget = Callable[[], None]
"""Called when a session ended: identities read before may no longer be believed."""


class Sessions:
    """Begins, renews, lists and ends sessions."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        access: AccessTokens,
        settings: AuthSettings,
        forget: Forget,
        audit: Audit,
    ) -> None:
        """Keep them in ``database``."""
        self._audit = audit
        self._database = database
        self._tokens = RefreshTokens(database, keyring, settings)
        self._access = access
        self._settings = settings
        self.forget = forget
        """To be called after a session was ended in a transaction of the caller's."""

    async def begin(
        self, transaction: AsyncSession, user_id: str, methods: frozenset[str], visitor: Visitor
    ) -> Issued:
        """Begin a session of somebody who has shown ``methods``."""
        await hold_user(transaction, user_id)
        moment = now()
        session = AuthSession(
            id=new_id(), user_id=user_id, methods=" ".join(sorted(methods)),
            user_agent=printable(visitor.user_agent), address=visitor.address, network=visitor.network,
            created_at=moment, authenticated_at=moment, last_used_at=moment,
            expires_at=moment + timedelta(seconds=self._settings.session), revoked_at=None, ended=None,
        )  # fmt: skip
        transaction.add(session)
        await transaction.flush()
        await self._end_surplus(transaction, user_id)
        token = tokens.make(tokens.REFRESH_TOKEN)
        expires = await self._tokens.keep(transaction, token, session.id, session.expires_at)
        return self._issued(user_id, session.id, token, expires)

    async def refresh(self, text: str, visitor: Visitor, check: Check = lambda _: None) -> Issued:
        """Exchange a refresh token. Raises ``Unauthenticated``, and what ``check`` raises."""
        if not tokens.well_formed(text, tokens.REFRESH_TOKEN):
            raise Unauthenticated(_BAD)
        async with self._database.transaction() as transaction:
            issued = await self._exchange(transaction, text, visitor, check)
        if issued is None:
            self.forget()
            raise Unauthenticated(_BAD)
        return issued

    async def _exchange(
        self, transaction: AsyncSession, text: str, visitor: Visitor, check: Check
    ) -> Issued | None:
        """Return the exchange; ``None`` if the session had to be ended, which is to be committed."""
        used = await self._tokens.use(transaction, text)
        if used is None:
            return await self._repeat(transaction, text, visitor, check)
        session_id, successor = used
        check(session_id)
        session = await self._touch(transaction, session_id, visitor)
        expires = await self._tokens.keep(transaction, successor, session_id, session["expires_at"])
        return self._issued(session["user_id"], session_id, successor, expires)

    async def _repeat(
        self, transaction: AsyncSession, text: str, visitor: Visitor, check: Check
    ) -> Issued | None:
        """Answer a token that was used before: alike within moments, else as what it is, a theft."""
        before = await self._tokens.used_before(transaction, text)
        if before is None:
            raise Unauthenticated(_BAD)
        session_id = before["session_id"]
        check(session_id)
        session = await self._touch(transaction, session_id, visitor)
        successor = await self._tokens.successor(transaction, text, before)
        if successor is not None:
            return self._issued(session["user_id"], session_id, *successor)
        log.warning("session.refresh_token_reused", session=session_id, user=session["user_id"])
        await self.end(transaction, session["user_id"], session_id, "refresh token reused")
        await self._audit.note(
            transaction, "session.token_reused", session["user_id"], session_id, visitor.address
        )
        return None

    async def _touch(self, transaction: AsyncSession, session_id: str, visitor: Visitor) -> Row:
        """Note the use of a living session, and hold it so that it cannot end meanwhile. Raises ``Unauthenticated``."""
        touched = await transaction.execute(
            update(AuthSession)
            .where(
                AuthSession.id == session_id,
                *living(now()),
                select(User.id).where(User.id == AuthSession.user_id, User.disabled_at.is_(None)).exists(),
            )
            .values(
                last_used_at=now(), address=visitor.address, network=visitor.network,
                user_agent=printable(visitor.user_agent),
            )
            .returning(AuthSession.user_id, AuthSession.expires_at)
        )  # fmt: skip
        row = touched.mappings().first()
        if row is None:
            raise Unauthenticated(_BAD)
        return dict(row)

    def _issued(self, user_id: str, session_id: str, token: tokens.Secret, expires: datetime) -> Issued:
        access = self._access.make(user_id, session_id)
        left = round((expires - now()).total_seconds())
        return Issued(user_id, session_id, access, token.text, round(self._access.lifetime), left)

    async def _end_surplus(self, transaction: AsyncSession, user_id: str) -> None:
        newest = (
            select(AuthSession.id)
            .where(AuthSession.user_id == user_id, AuthSession.revoked_at.is_(None))
            .order_by(AuthSession.last_used_at.desc(), AuthSession.id.desc())
            .limit(self._settings.max_sessions)
        )
        await transaction.execute(
            update(AuthSession)
            .where(
                AuthSession.user_id == user_id,
                AuthSession.revoked_at.is_(None),
                AuthSession.id.not_in(newest.scalar_subquery()),
            )
            .values(revoked_at=now(), ended="too many sessions")
        )

    async def of_user(self, user_id: str) -> list[Row]:
        """Return a user's living sessions, the last used first."""
        unused = timedelta(seconds=self._settings.refresh_token)
        rows = await self._database.all(
            select(
                AuthSession.id, AuthSession.methods, AuthSession.user_agent, AuthSession.address,
                AuthSession.created_at, AuthSession.last_used_at, AuthSession.expires_at,
            )
            .where(AuthSession.user_id == user_id, *living(now()), AuthSession.last_used_at > now() - unused)
            .order_by(AuthSession.last_used_at.desc(), AuthSession.id.desc())
            .limit(SHOWN)
        )  # fmt: skip
        return [{**row, "expires_at": min(row["expires_at"], row["last_used_at"] + unused)} for row in rows]

    async def session_of(self, refresh_token: str) -> tuple[str, str] | None:
        """Return user and session of a refresh token, used or not, if there is such a one."""
        return await self._tokens.session_of(refresh_token)

    async def revoke(self, user_id: str, session_id: str, why: str, note: Note) -> None:
        """End one session: here at once, elsewhere within 5 s (R28). Raises ``NotFound``."""
        if not is_id(session_id) or not await self.revoke_if_living(user_id, session_id, why, note):
            msg = "There is no such session."
            raise NotFound(msg)

    async def revoke_if_living(self, user_id: str, session_id: str, why: str, note: Note) -> bool:
        """End one session, if it has not ended; tell whether it was."""
        async with self._database.transaction() as transaction:
            if ended := await self.end(transaction, user_id, session_id, why):
                await note(transaction)
        self.forget()
        return ended

    async def revoke_all(self, user_id: str, why: str, note: Note, keep: str | None = None) -> None:
        """End every session of a user but ``keep``."""
        async with self._database.transaction() as transaction:
            await self.end_all(transaction, user_id, why, keep)
            await note(transaction)
        self.forget()

    async def end(self, transaction: AsyncSession, user_id: str, session_id: str, why: str) -> bool:
        """End a session; ``False`` if it is no living one of that user. Then call ``forget``."""
        ended = await transaction.scalar(
            update(AuthSession)
            .where(AuthSession.id == session_id, AuthSession.user_id == user_id, *living(now()))
            .values(revoked_at=now(), ended=why)
            .returning(AuthSession.id)
        )
        return ended is not None

    async def end_all(
        self, transaction: AsyncSession, user_id: str, why: str, keep: str | None = None
    ) -> None:
        """End every session of a user but ``keep``. Then call ``forget``."""
        await hold_user(transaction, user_id)
        others = () if keep is None else (AuthSession.id != keep,)
        await transaction.execute(
            update(AuthSession)
            .where(AuthSession.user_id == user_id, AuthSession.revoked_at.is_(None), *others)
            .values(revoked_at=now(), ended=why)
        )

    async def forget_old(self) -> None:
        """Delete tokens that are expired, and sessions that ended long ago."""
        moment = now()
        async with self._database.transaction() as transaction:
            await self._tokens.forget_expired(transaction)
            await transaction.execute(delete(AuthSession).where(AuthSession.expires_at < moment - KEPT))


async def hold_user(transaction: AsyncSession, user_id: str) -> None:
    """Let transactions that write several rows of a user take turns: sessions, factors, tokens have no order (R11)."""
    await transaction.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


def living(moment: datetime) -> tuple:  # type: ignore[type-arg]
    """Return the conditions by which a session is alive."""
    return AuthSession.revoked_at.is_(None), AuthSession.expires_at > moment
