"""Accounts elsewhere by which users sign in here: rows, named for ever by issuer and subject."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.oauth.errors import LastWayIn
from neurogrid.auth.oauth.exchange import Profile
from neurogrid.auth.tables import OAuthIdentity, Passkey, User
from neurogrid.auth.trail import Trail
from neurogrid.core.db import Database
from neurogrid.core.errors import NotFound
from neurogrid.core.ids import is_id, new_id, now
from neurogrid.core.prepared import Row

_SHOWN = select(
    OAuthIdentity.id, OAuthIdentity.provider, OAuthIdentity.email, OAuthIdentity.created_at,
    OAuthIdentity.last_used_at,
)  # fmt: skip


class LinkedMeanwhile(Exception):
    """The account elsewhere is somebody's by now."""


class Identities:
    """Keeps them."""

    def __init__(self, database: Database, issuers: Collection[str]) -> None:
        """Keep them in ``database``; those of other ``issuers`` let nobody in."""
        self._database = database
        self._issuers = tuple(issuers)

    async def find(self, transaction: AsyncSession, profile: Profile) -> Row | None:
        """Return whose an account elsewhere is, and its ``identity_id``."""
        found = await transaction.execute(
            select(User.id, User.email, User.role, User.disabled_at, OAuthIdentity.id.label("identity_id"))
            .join(OAuthIdentity, OAuthIdentity.user_id == User.id)
            .where(OAuthIdentity.issuer == profile.issuer, OAuthIdentity.subject == profile.subject)
        )
        row = found.mappings().first()
        return dict(row) if row is not None else None

    async def used(self, transaction: AsyncSession, id: str, profile: Profile) -> None:
        """Note that somebody came by it, and the address it has by now."""
        await transaction.execute(
            update(OAuthIdentity)
            .where(OAuthIdentity.id == id)
            .values(last_used_at=now(), email=func.coalesce(profile.email, OAuthIdentity.email))
        )

    async def add(self, transaction: AsyncSession, user_id: str, profile: Profile) -> Row:
        """Link an account elsewhere to a user. Raises ``LinkedMeanwhile``; then nothing of the transaction can stay."""
        identity = OAuthIdentity(
            id=new_id(), user_id=user_id, provider=profile.provider, issuer=profile.issuer,
            subject=profile.subject, email=profile.email, created_at=now(), last_used_at=None,
        )  # fmt: skip
        transaction.add(identity)
        try:
            await transaction.flush()
        except IntegrityError:
            raise LinkedMeanwhile from None
        return {column.name: getattr(identity, column.name) for column in _SHOWN.selected_columns}

    async def of_user(self, user_id: str) -> list[Row]:
        """Return a user's, the oldest first."""
        return await self._database.all(
            _SHOWN.where(OAuthIdentity.user_id == user_id).order_by(OAuthIdentity.id)
        )

    async def remove(self, trail: Trail, user_id: str, id: str) -> None:
        """Unlink one. Raises ``NotFound`` or ``LastWayIn``; of two at once the second sees what the first has left."""
        if not is_id(id):
            raise _unknown()
        async with self._database.transaction() as transaction:
            password = await transaction.scalar(
                select(User.password_hash.is_not(None)).where(User.id == user_id).with_for_update()
            )
            mine = (OAuthIdentity.id == id, OAuthIdentity.user_id == user_id)
            provider = await transaction.scalar(select(OAuthIdentity.provider).where(*mine))
            if provider is None:
                raise _unknown()
            if not password and not await self._other_ways(transaction, user_id, id):
                raise LastWayIn
            await transaction.execute(delete(OAuthIdentity).where(*mine))
            await trail.of("identity.unlinked", id, provider=provider)(transaction)

    async def _other_ways(self, transaction: AsyncSession, user_id: str, id: str) -> int:
        """Return how many ways there are to sign in besides a password and the account elsewhere with this ``id``."""
        others = select(func.count()).where(
            OAuthIdentity.user_id == user_id, OAuthIdentity.id != id, OAuthIdentity.issuer.in_(self._issuers)
        )
        passkeys = select(func.count()).where(Passkey.user_id == user_id)
        return (await transaction.scalar(others) or 0) + (await transaction.scalar(passkeys) or 0)


def _unknown() -> NotFound:
    msg = "You have no linked account with this id."
    return NotFound(msg)
