"""What people do with their own accounts: make one, prove its address, choose another password."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import letters, passwords, tokens
from neurogrid.auth.audit import Audit
from neurogrid.auth.invitations import Invitations
from neurogrid.auth.lockout import Lockout
from neurogrid.auth.mails import Mailbox
from neurogrid.auth.onetime import SECOND_STEP, OneTimeTokens
from neurogrid.auth.passwords import Passwords
from neurogrid.auth.policy import Identity, Role, Tier
from neurogrid.auth.possession import take_possession
from neurogrid.auth.service import address_of
from neurogrid.auth.sessions import Sessions
from neurogrid.auth.signin import Account, WrongCredentials, subject_of
from neurogrid.auth.tables import User
from neurogrid.auth.trail import Trail
from neurogrid.auth.visitors import Visitor
from neurogrid.core.db import Database
from neurogrid.core.errors import Forbidden, NotFound, Unavailable
from neurogrid.core.ids import new_id, now
from neurogrid.core.prepared import Row
from neurogrid.core.settings_auth import AuthSettings, Registration

VERIFY: Final = "verify-email"
RESET: Final = "reset-password"
STEP: Final = 0.25
"""Seconds of whose multiples an answer takes one, so that its time does not tell what was done for it."""


class RegistrationClosed(Forbidden):
    """Nobody makes an account for themselves here."""

    code, title = "registration_closed", "Registration is closed"


@dataclass(frozen=True, slots=True)
class AccountsSetup:
    """What accounts are made by: settings, and where links in mails lead."""

    settings: AuthSettings
    public_url: str


class Accounts:
    """Makes accounts for people who ask, and lets them look after their own."""

    def __init__(
        self,
        database: Database,
        setup: AccountsSetup,
        passwords: Passwords,
        lockout: Lockout,
        sessions: Sessions,
        mailbox: Mailbox,
        audit: Audit,
    ) -> None:
        """Keep accounts in ``database``."""
        self._audit = audit
        self._database = database
        self._settings = setup.settings
        self._url = setup.public_url
        self._passwords = passwords
        self._lockout = lockout
        self._sessions = sessions
        self._mailbox = mailbox
        self._invitations = Invitations(database)
        self._tokens = OneTimeTokens(database)

    async def register(self, email: str, password: str, invitation: str | None) -> None:
        """Make an account, or tell its owner by mail that there is one: the asker learns nothing of it.

        Raises ``RegistrationClosed``, ``InvitationRequired`` or ``Invalid``.
        """
        async with evenly():
            address = address_of(email)
            passwords.check(password, address)
            if self._settings.registration is Registration.CLOSED:
                msg = "Accounts are made by the operators of this grid; ask them."
                raise RegistrationClosed(msg)
            invited = await self._invited(address, invitation)
            hashed = await self._passwords.hash(password)
            try:
                async with self._database.transaction() as transaction:
                    await self._make(transaction, address, hashed, invited)
            except IntegrityError:
                async with self._database.transaction() as transaction:
                    await self._tell_of_account(transaction, address)

    async def _invited(self, address: str, code: str | None) -> Row | None:
        if self._settings.registration is not Registration.INVITATION and code is None:
            return None
        return await self._invitations.look_up(code, address)

    async def _make(self, transaction: AsyncSession, address: str, hashed: str, invited: Row | None) -> None:
        user = User(
            id=new_id(), email=address, password_hash=hashed, created_at=now(), disabled_at=None,
            role=invited["role"] if invited else Role.USER.value,
            tier=invited["tier"] if invited else Tier.FREE.value,
            email_verified_at=None, password_changed_at=now(),
        )  # fmt: skip
        transaction.add(user)
        await transaction.flush()
        if invited:
            await self._invitations.use(transaction, invited["id"], user.id)
        await self._send_verification(transaction, user.id, address)

    async def _tell_of_account(self, transaction: AsyncSession, address: str) -> None:
        if not await self._mailbox.may_write(transaction, address):
            return
        found = await transaction.execute(
            select(User.id, User.email_verified_at).where(func.lower(User.email) == address)
        )
        user = found.mappings().first()
        if user is not None and user["email_verified_at"] is None:
            await self._send_verification(transaction, user["id"], address)
        else:
            await self._mailbox.write(transaction, address, letters.already_registered(self._url))

    async def _send_verification(self, transaction: AsyncSession, user_id: str, address: str) -> None:
        lifetime = timedelta(seconds=self._settings.verification)
        token = await self._tokens.make(transaction, tokens.VERIFICATION, VERIFY, user_id, lifetime)
        await self._mailbox.write(transaction, address, letters.verify(self._url, token))

    async def send_verification(self, identity: Identity) -> None:
        """Send the mail that verifies an address once more, unless it is verified or was sent too often."""
        async with self._database.transaction() as transaction:
            address = await transaction.scalar(
                select(User.email).where(User.id == identity.user_id, User.email_verified_at.is_(None))
            )
            if address is not None and await self._mailbox.may_write(transaction, address):
                await self._send_verification(transaction, identity.user_id, address)

    async def verify_email(self, token: str) -> None:
        """Take an address for proven. Raises ``BadToken``."""
        async with self._database.transaction() as transaction:
            user_id = await self._tokens.use(transaction, token, tokens.VERIFICATION, VERIFY)
            await transaction.execute(
                update(User)
                .where(User.id == user_id, User.email_verified_at.is_(None))
                .values(email_verified_at=now())
            )
        self._sessions.forget()

    async def forgot(self, email: str) -> None:
        """Mail a link that resets the password, if there is such an account; the asker learns nothing of it."""
        async with evenly():
            address = address_of(email)
            async with self._database.transaction() as transaction:
                user_id = await transaction.scalar(
                    select(User.id).where(func.lower(User.email) == address, User.disabled_at.is_(None))
                )
                if user_id is None or not await self._mailbox.may_write(transaction, address):
                    return
                lifetime = timedelta(seconds=self._settings.reset)
                token = await self._tokens.make(transaction, tokens.RESET, RESET, user_id, lifetime)
                minutes = round(self._settings.reset / 60)
                await self._mailbox.write(transaction, address, letters.reset(self._url, token, minutes))

    async def reset(self, token: str, password: str, visitor: Visitor) -> str:
        """Set the password of whoever a mailed token is for, end every session, and return the address.

        Raises ``BadToken`` or ``Invalid``.
        """
        row = await self._tokens.look_up(token, tokens.RESET, RESET)
        address = row["email"]
        passwords.check(password, address)
        hashed = await self._passwords.hash(password)
        async with self._database.transaction() as transaction:
            user_id = await self._tokens.use(transaction, token, tokens.RESET, RESET)
            if row["email_verified_at"] is None:
                await take_possession(transaction, user_id)
            await self._set_password(transaction, Account(user_id, address, Role(row["role"])), hashed)
            await self._audit.note(transaction, "password.reset", None, user_id, visitor.address)
        self._sessions.forget()
        return str(address)

    async def change_password(self, identity: Identity, current: str, new: str, visitor: Visitor) -> None:
        """Choose another password and end every session. Raises ``WrongCredentials`` or ``GuessesDelayed``."""
        row = await self._database.first(
            select(User.email, User.role, User.password_hash).where(User.id == identity.user_id)
        )
        if row is None:
            raise WrongCredentials
        passwords.check(new, row["email"], "new_password")
        guess = await self._lockout.begin(subject_of(row["email"]), visitor.network, known=True)
        try:
            right = await self._passwords.verify(current, row["password_hash"])
            hashed = await self._passwords.hash(new) if right else ""
        except Unavailable:
            await self._lockout.withdraw(guess)
            raise
        if not right:
            raise WrongCredentials
        async with self._database.transaction() as transaction:
            account = Account(identity.user_id, row["email"], Role(row["role"]))
            await self._set_password(transaction, account, hashed)
            await self._audit.note(
                transaction, "password.changed", identity, identity.user_id, visitor.address
            )
        self._sessions.forget()

    async def set_password(self, trail: Trail, user_id: str, new: str) -> None:
        """Give a user another password, on an operator's word, and end every session. Raises ``NotFound`` or ``Invalid``."""
        row = await self._database.first(select(User.email, User.role).where(User.id == user_id))
        if row is None:
            msg = "There is no user with this id."
            raise NotFound(msg)
        passwords.check(new, row["email"])
        hashed = await self._passwords.hash(new)
        async with self._database.transaction() as transaction:
            account = Account(user_id, row["email"], Role(row["role"]))
            await self._set_password(transaction, account, hashed)
            await trail.of("password.set", user_id)(transaction)
        self._sessions.forget()

    async def _set_password(self, transaction: AsyncSession, account: Account, hashed: str) -> None:
        await transaction.execute(
            update(User).where(User.id == account.id).values(password_hash=hashed, password_changed_at=now())
        )
        await self._tokens.void(transaction, account.id, RESET)
        await self._tokens.void(transaction, account.id, SECOND_STEP)
        await self._lockout.reset(transaction, subject_of(account.email))
        await self._sessions.end_all(transaction, account.id, "password changed")
        await self._mailbox.write(transaction, account.email, letters.password_changed(self._url))

    async def of(self, identity: Identity) -> Row:
        """Return what a user may know of their own account. Raises ``WrongCredentials`` when it is gone."""
        row = await self._database.first(
            select(User.id, User.email, User.role, User.tier, User.email_verified_at, User.created_at).where(
                User.id == identity.user_id
            )
        )
        if row is None:
            raise WrongCredentials
        return row


@asynccontextmanager
async def evenly(step: float = STEP) -> AsyncIterator[None]:
    """Let the block take a multiple of ``step`` seconds, however it ends."""
    began = time.monotonic()
    try:
        yield
    finally:
        await asyncio.sleep(step - (time.monotonic() - began) % step)
