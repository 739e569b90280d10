"""Signing in: from a password, or whatever else shows who somebody is, to a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.audit import Audit
from neurogrid.auth.lockout import Lockout
from neurogrid.auth.passwords import Passwords
from neurogrid.auth.policy import Role
from neurogrid.auth.service import is_address
from neurogrid.auth.sessions import Issued, Sessions
from neurogrid.auth.tables import AuthSession, User
from neurogrid.auth.visitors import Visitor
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.errors import Unauthenticated, Unavailable
from neurogrid.core.ids import new_id

PASSWORD = "password"  # noqa: S105 - the name of a method
_DEVICE = "device"


class WrongCredentials(Unauthenticated):
    """Address and password do not belong together, or there is no such account: the two look the same."""

    code, title = "wrong_credentials", "Not signed in"

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    id: str
    email: str
    role: Role


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that lacks a second factor: ``ticket`` stands for what was shown so far."""

    ticket: str = field(repr=False)
    factors: tuple[str, ...]
    expires_in: int


Hold = Callable[[AsyncSession, Account, frozenset[str]], Awaitable[Pending | None]]
"""Given somebody and the methods shown, says what is lacking yet; ``None`` if nothing is."""


class SignIn:
    """Turns what somebody shows into a session."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        passwords: Passwords,
        lockout: Lockout,
        sessions: Sessions,
        audit: Audit,
        hold: Hold,
    ) -> None:
        """Begin ``sessions`` for the accounts in ``database``; ``hold`` asks for second factors."""
        self._database = database
        self._keyring = keyring
        self._passwords = passwords
        self._lockout = lockout
        self._sessions = sessions
        self._audit = audit
        self._hold = hold

    async def by_password(self, email: str, password: str, visitor: Visitor) -> Issued | Pending:
        """Sign somebody in. Raises ``WrongCredentials``, ``GuessesDelayed`` or ``Unavailable``.

        Takes the same time and answers the same whether or not there is such an account.
        """
        address = email.strip().lower()
        row = await self._find(address, visitor)
        known = self.knows(visitor.device, address) or bool(row and row["place_known"])
        guess = await self._lockout.begin(subject_of(address), self._place(visitor, address), known=known)
        try:
            right = await self._passwords.verify(password, row["password_hash"] if row else None)
        except Unavailable:
            await self._lockout.withdraw(guess)
            raise
        if row is None or not right or row["disabled_at"] is not None:
            await self._note_failure(row["id"] if row else None, visitor)
            raise WrongCredentials
        account = Account(row["id"], row["email"], Role(row["role"]))
        async with self._database.transaction() as transaction:
            # The account is locked before its counters, as where a password is set: two that meet take turns.
            done = await self.complete(transaction, account, frozenset({PASSWORD}), visitor)
            await self._lockout.succeeded(transaction, guess)
            return done

    async def complete(
        self, transaction: AsyncSession, account: Account, methods: frozenset[str], visitor: Visitor
    ) -> Issued | Pending:
        """Begin a session for somebody who has shown ``methods``, unless something is lacking.

        Every way to sign in ends here, in the transaction in which it was shown.
        """
        pending = await self._hold(transaction, account, methods)
        if pending is not None:
            return pending
        issued = await self._sessions.begin(transaction, account.id, methods, visitor)
        await self._audit.note(
            transaction,
            "session.began",
            account.id,
            issued.session_id,
            visitor.address,
            {"methods": sorted(methods)},
        )
        return issued

    async def _note_failure(self, user_id: str | None, visitor: Visitor) -> None:
        """Write down a wrong guess, also at an account that does not exist: it must take as long."""
        async with self._database.transaction() as transaction:
            await self._audit.note(transaction, "sign_in.failed", None, user_id, visitor.address)

    async def _find(self, address: str, visitor: Visitor) -> Any:
        """Return the account of an address, and whether it was used from the visitor's network before."""
        searched = address if is_address(address) else ""  # nobody's, and looked for all the same
        return await self._database.first(
            select(
                User.id,
                User.email,
                User.role,
                User.password_hash,
                User.disabled_at,
                _used_from(visitor.network).label("place_known"),
            ).where(func.lower(User.email) == searched)
        )

    async def place_of(self, user_id: str, email: str, visitor: Visitor) -> tuple[str, bool]:
        """Return where guesses of a visitor at an account count, and whether it was used from there before."""
        row = await self._database.first(
            select(_used_from(visitor.network).label("known")).where(User.id == user_id)
        )
        known = self.knows(visitor.device, email) or bool(row and row["known"])
        return self._place(visitor, email), known

    def device_of(self, email: str) -> str:
        """Return what a device is to show to be known as one on which this account signed in."""
        nonce = new_id()
        return f"{nonce}.{self._keyring.tag(_DEVICE, f'{email} {nonce}')}"

    def knows(self, device: str | None, email: str) -> bool:
        """Tell whether what a device shows says that this account signed in on it."""
        nonce, _, tag = (device or "").partition(".")
        return self._keyring.tagged(_DEVICE, f"{email} {nonce}", tag)

    def _place(self, visitor: Visitor, email: str) -> str:
        if visitor.device is not None and self.knows(visitor.device, email):
            return f"device {visitor.device.partition('.')[0]}"
        return visitor.network


def _used_from(network: str) -> ColumnElement[bool]:
    """Return whether the user of a row has had a session on a network."""
    place = select(AuthSession.id).where(AuthSession.user_id == User.id, AuthSession.network == network)
    return place.exists()


def subject_of(email: str) -> str:
    """Return what guesses at the password of an address are counted under."""
    return f"password {email}"
