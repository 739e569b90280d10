"""The ways to show who one is besides a password, and the statements about who has them and what a session has shown."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import recovery
from neurogrid.auth.tables import AuthSession, Passkey, User, UserTotp
from neurogrid.core.ids import now

TOTP: Final = "totp"
PASSKEY: Final = "passkey"
RECOVERY: Final = "recovery_code"
SECOND: Final = frozenset({TOTP, PASSKEY, RECOVERY})
"""Methods, as sessions name them, that are more than a password."""


def has_second_factor() -> ColumnElement[bool]:
    """Return whether the user of a row has a second factor, for statements about users."""
    app = select(UserTotp.user_id).where(UserTotp.user_id == User.id, UserTotp.confirmed_at.is_not(None))
    return or_(app.exists(), select(Passkey.id).where(Passkey.user_id == User.id).exists())


async def kinds_of(transaction: AsyncSession, user_id: str) -> tuple[str, ...]:
    """Return the kinds of second factors that an account has."""
    app = select(UserTotp.user_id).where(UserTotp.user_id == user_id, UserTotp.confirmed_at.is_not(None))
    passkey = select(Passkey.id).where(Passkey.user_id == user_id)
    found = (await transaction.execute(select(app.exists(), passkey.exists()))).one()
    return tuple(kind for kind, there in zip((TOTP, PASSKEY), found, strict=True) if there)


async def drop_all(transaction: AsyncSession, user_id: str) -> None:
    """Take every second factor from an account."""
    await transaction.execute(delete(UserTotp).where(UserTotp.user_id == user_id))
    await transaction.execute(delete(Passkey).where(Passkey.user_id == user_id))
    await recovery.drop(transaction, user_id)


async def prove(transaction: AsyncSession, session_id: str, method: str) -> None:
    """Write down that the owner of a session has shown ``method`` just now."""
    methods = await transaction.scalar(
        select(AuthSession.methods).where(AuthSession.id == session_id).with_for_update()
    )
    shown = " ".join(sorted({*(methods or "").split(), method}))
    await transaction.execute(
        update(AuthSession).where(AuthSession.id == session_id).values(methods=shown, authenticated_at=now())
    )
