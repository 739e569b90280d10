"""Invitations: leave to make one account, of a role and tier that whoever invites has chosen."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import tokens
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.tables import Invitation
from neurogrid.core.db import Database
from neurogrid.core.errors import Forbidden
from neurogrid.core.ids import new_id, now
from neurogrid.core.prepared import Row


class InvitationRequired(Forbidden):
    """Registering takes an invitation, and none was given that is good."""

    code, title = "invitation_required", "An invitation is needed"

    def __init__(self) -> None:
        super().__init__(
            "Give an invitation that is neither used nor expired, and made for this address or any."
        )


class Invitations:
    """Makes and takes them."""

    def __init__(self, database: Database) -> None:
        """Keep them in ``database``."""
        self._database = database

    async def make(self, email: str | None, role: Role, tier: Tier, lifetime: timedelta) -> str:
        """Return a fresh code for ``email``, or for anybody; it cannot be read again."""
        secret = tokens.make(tokens.INVITATION)
        async with self._database.transaction() as transaction:
            transaction.add(
                Invitation(
                    id=new_id(),
                    hash=secret.hash,
                    email=email,
                    role=role.value,
                    tier=tier.value,
                    created_at=now(),
                    expires_at=now() + lifetime,
                    used_at=None,
                    used_by=None,
                )
            )
        return secret.text

    async def look_up(self, code: str | None, email: str) -> Row:
        """Return a code's invitation. Raises ``InvitationRequired``."""
        row = None
        if code is not None and tokens.well_formed(code, tokens.INVITATION):
            row = await self._database.first(
                select(Invitation.id, Invitation.role, Invitation.tier).where(
                    Invitation.hash == tokens.digest(code),
                    Invitation.used_at.is_(None),
                    Invitation.expires_at > now(),
                    Invitation.email.is_(None) | (Invitation.email == email),
                )
            )
        if row is None:
            raise InvitationRequired
        return row

    async def use(self, transaction: AsyncSession, id: str, user_id: str) -> None:
        """Use an invitation for an account. Raises ``InvitationRequired`` if somebody was quicker."""
        used = await transaction.scalar(
            update(Invitation)
            .where(Invitation.id == id, Invitation.used_at.is_(None))
            .values(used_at=now(), used_by=user_id)
            .returning(Invitation.id)
        )
        if used is None:
            raise InvitationRequired
