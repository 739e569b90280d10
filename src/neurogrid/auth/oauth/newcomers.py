"""Accounts for people who come by a provider and have none yet."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.accounts import RegistrationClosed
from neurogrid.auth.audit import Audit
from neurogrid.auth.invitations import Invitations
from neurogrid.auth.oauth.identities import LinkedMeanwhile
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.signin import Account
from neurogrid.auth.tables import User
from neurogrid.auth.visitors import Visitor
from neurogrid.core.db import Database
from neurogrid.core.ids import new_id, now
from neurogrid.core.settings_auth import Registration


class Newcomers:
    """Lets them in where the settings do: anybody, or whoever has an invitation."""

    def __init__(self, database: Database, registration: Registration, audit: Audit) -> None:
        """Keep accounts in ``database``."""
        self._registration = registration
        self._invitations = Invitations(database)
        self._audit = audit

    async def admit(
        self, transaction: AsyncSession, email: str, invitation: str | None, method: str, visitor: Visitor
    ) -> Account:
        """Make an account, without password, for the owner of a proven address.

        Raises ``RegistrationClosed``, ``InvitationRequired``, or ``LinkedMeanwhile`` if there is one by now.
        """
        if self._registration is Registration.CLOSED:
            msg = "Accounts are made by the operators of this grid; ask them."
            raise RegistrationClosed(msg)
        invited = None
        if self._registration is Registration.INVITATION or invitation is not None:
            invited = await self._invitations.look_up(invitation, email)
        role = Role(invited["role"]) if invited else Role.USER
        tier = Tier(invited["tier"]) if invited else Tier.FREE
        user = User(
            id=new_id(), email=email, password_hash=None, created_at=now(), disabled_at=None, role=role.value,
            tier=tier.value, email_verified_at=now(), password_changed_at=None,
        )  # fmt: skip
        transaction.add(user)
        try:
            await transaction.flush()
        except IntegrityError:
            raise LinkedMeanwhile from None
        if invited:
            await self._invitations.use(transaction, invited["id"], user.id)
        details = {"role": role.value, "tier": tier.value, "by": method}
        await self._audit.note(transaction, "user.created", user.id, user.id, visitor.address, details)
        return Account(user.id, email, role)
