"""An account elsewhere whose address belongs to an account here: it opens that account only if its owner says so.

That the provider vouches for the address is not enough. Whoever came by it gets a ticket, and shows besides that the
account here is theirs: by being signed in to it, by its password, or by the token of a mail to it. The token is worth
nothing without the ticket, so opening a mail that somebody else had sent lets them in nowhere.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import letters, tokens
from neurogrid.auth.audit import Audit
from neurogrid.auth.mails import Mailbox
from neurogrid.auth.oauth import flows
from neurogrid.auth.oauth.errors import IdentityTaken
from neurogrid.auth.oauth.exchange import Profile
from neurogrid.auth.oauth.identities import Identities, LinkedMeanwhile
from neurogrid.auth.oauth.providers import Provider
from neurogrid.auth.onetime import BadToken, OneTimeTokens
from neurogrid.auth.policy import Identity, Role
from neurogrid.auth.possession import take_possession
from neurogrid.auth.sessions import Issued, Sessions
from neurogrid.auth.signin import Account, Pending, SignIn
from neurogrid.auth.tables import User
from neurogrid.auth.visitors import Visitor
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.errors import Forbidden
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row

LINK: Final = "link-account"
LIFETIME: Final = 900
"""Seconds to show whose the account here is; a mail has to arrive meanwhile."""
WAYS: Final = ("session", "password", "mail")
_PLACE: Final = "oauth link ticket"


@dataclass(frozen=True, slots=True)
class LinkNeeded:
    """There is an account with that address: ``ticket`` stands for the account elsewhere, until it is shown whose."""

    ticket: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True)
class _Ticket:
    user_id: str
    profile: Profile
    expires: int


def locked() -> Forbidden:
    """Return what is said to somebody whose account is locked, and who has shown that it is theirs."""
    msg = "Your account is locked. Ask the operators of this grid."
    return Forbidden(msg)


class Linking:
    """Links accounts."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        providers: Mapping[str, Provider],
        url: str,
        identities: Identities,
        sign_in: SignIn,
        sessions: Sessions,
        mailbox: Mailbox,
        audit: Audit,
    ) -> None:
        """Keep links in ``database``; ``url`` is where links in mails lead."""
        self._database = database
        self._keyring = keyring
        self._providers = providers
        self._url = url
        self._identities = identities
        self._sign_in = sign_in
        self._sessions = sessions
        self._mailbox = mailbox
        self._audit = audit
        self._one_time = OneTimeTokens(database)

    def needed(self, user_id: str, profile: Profile) -> LinkNeeded:
        """Return the ticket of who came by ``profile``, and may be the user."""
        value: dict[str, Any] = {
            "u": user_id,
            "p": profile.provider,
            "i": profile.issuer,
            "s": profile.subject,
            "m": profile.email,
            "e": int(time.time()) + LIFETIME,
        }
        return LinkNeeded(flows.seal_object(self._keyring, value, _PLACE), LIFETIME)

    def _read(self, ticket: str) -> _Ticket:
        value: dict[str, Any] | None = flows.unseal_object(self._keyring, ticket, _PLACE)
        if value is None or value["e"] <= time.time() or value["p"] not in self._providers:
            raise BadToken
        return _Ticket(value["u"], Profile(value["p"], value["i"], value["s"], value["m"]), value["e"])

    async def of_own(self, identity: Identity, ticket: str, visitor: Visitor) -> Row:
        """Link to the account of who is signed in. Raises ``BadToken`` or ``IdentityTaken``."""
        read = self._read(ticket)
        if read.user_id != identity.user_id:
            raise BadToken
        async with self._linking(read) as transaction:
            return await self.link(transaction, read.user_id, read.profile, visitor)

    async def email_of(self, ticket: str) -> str:
        """Return the address of the account that a ticket is for. Raises ``BadToken``."""
        return (await self._account(self._read(ticket))).email

    async def by_password(self, ticket: str, password: str, visitor: Visitor) -> Issued | Pending:
        """Sign in to the account by its password, and link; where a second factor lacks, nothing is linked yet.

        Raises ``BadToken``, ``IdentityTaken``, and what signing in raises.
        """
        read = self._read(ticket)
        account = await self._account(read)
        issued = await self._sign_in.by_password(account.email, password, visitor)
        if isinstance(issued, Issued):
            async with self._linking(read) as transaction:
                await self.link(transaction, account.id, read.profile, visitor)
        return issued

    async def mail(self, ticket: str) -> None:
        """Mail a token to the account that a ticket is for. Raises ``BadToken``."""
        read = self._read(ticket)
        account = await self._account(read)
        async with self._database.transaction() as transaction:
            if await self._mailbox.may_write(transaction, account.email):
                label = self._providers[read.profile.provider].label
                lifetime = timedelta(seconds=LIFETIME)
                token = await self._one_time.make(transaction, tokens.LINK, LINK, account.id, lifetime)
                letter = letters.link_asked(self._url, token, label, LIFETIME // 60)
                await self._mailbox.write(transaction, account.email, letter)

    async def by_mail(self, ticket: str, token: str, visitor: Visitor) -> Issued | Pending:
        """Link to the account whose mails one reads, and sign in. Raises ``BadToken`` or ``IdentityTaken``.

        An account whose address nobody had proven is theirs from now on, and nobody else's.
        """
        read = self._read(ticket)
        account = await self._account(read)
        provider = self._providers[read.profile.provider]
        async with self._linking(read) as transaction:
            if await self._one_time.use(transaction, token, tokens.LINK, LINK) != account.id:
                raise BadToken
            await self._take_possession_of_unproven(transaction, account.id)
            await self.link(transaction, account.id, read.profile, visitor)
            methods = frozenset({provider.method})
            return await self._sign_in.complete(transaction, account, methods, visitor)

    async def _take_possession_of_unproven(self, transaction: AsyncSession, user_id: str) -> None:
        unproven = await transaction.scalar(
            update(User)
            .where(User.id == user_id, User.email_verified_at.is_(None))
            .values(password_hash=None, password_changed_at=now())
            .returning(User.id)
        )
        if unproven is not None:
            await take_possession(transaction, user_id)
            await self._sessions.end_all(transaction, user_id, "taken over by the owner of its address")

    @asynccontextmanager
    async def _linking(self, ticket: _Ticket) -> AsyncIterator[AsyncSession]:
        """Open a transaction that links. Raises ``IdentityTaken``; then it has done nothing."""
        try:
            async with self._database.transaction() as transaction:
                yield transaction
        except LinkedMeanwhile:
            raise IdentityTaken(self._providers[ticket.profile.provider].label) from None
        self._sessions.forget()

    async def link(self, transaction: AsyncSession, user_id: str, profile: Profile, visitor: Visitor) -> Row:
        """Link an account elsewhere to a user who wants it, and tell them by mail. Raises ``LinkedMeanwhile``.

        An address that both accounts have is proven by that.
        """
        row = await self._identities.add(transaction, user_id, profile)
        unproven = (User.id == user_id, User.email_verified_at.is_(None))
        await transaction.execute(
            update(User)
            .where(*unproven, func.lower(User.email) == profile.email)
            .values(email_verified_at=now())
        )
        email = await transaction.scalar(select(User.email).where(User.id == user_id))
        label = self._providers[profile.provider].label
        await self._mailbox.write(transaction, str(email), letters.identity_linked(self._url, label))
        details = {"provider": profile.provider}
        await self._audit.note(transaction, "identity.linked", user_id, row["id"], visitor.address, details)
        return row

    async def _account(self, ticket: _Ticket) -> Account:
        row = await self._database.first(
            select(User.id, User.email, User.role).where(
                User.id == ticket.user_id, User.disabled_at.is_(None)
            )
        )
        if row is None:
            raise BadToken
        return Account(row["id"], row["email"], Role(row["role"]))
