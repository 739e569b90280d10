"""An account goes to who owns its address, from whoever made it in their name before."""

from __future__ import annotations

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.methods import drop_all
from neurogrid.auth.tables import ApiKey, OAuthIdentity, User
from neurogrid.core.ids import now


async def take_possession(transaction: AsyncSession, user_id: str) -> None:
    """Give an account to who has its address: what whoever made it before has put there is worth nothing.

    The password and the sessions are the caller's to end.
    """
    await transaction.execute(update(User).where(User.id == user_id).values(email_verified_at=now()))
    await transaction.execute(
        update(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None)).values(revoked_at=now())
    )
    await transaction.execute(delete(OAuthIdentity).where(OAuthIdentity.user_id == user_id))
    await drop_all(transaction, user_id)
