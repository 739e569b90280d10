"""Showing again who one is, before what would hand an account over to whoever holds its session (GitHub calls it sudo).

Signing in counts for a while; later the password has to be shown again, or a second factor where there is one: there
the password alone proves nothing, since a second factor is for the day on which somebody knows it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.audit import Audit
from neurogrid.auth.ceremonies import Json, PasskeyRefused
from neurogrid.auth.factors import SecondFactors
from neurogrid.auth.lockout import CODES, Guess, Lockout
from neurogrid.auth.methods import PASSKEY, SECOND, has_second_factor, prove
from neurogrid.auth.passkeys import Passkeys
from neurogrid.auth.passwords import Passwords
from neurogrid.auth.policy import Identity, Proof
from neurogrid.auth.secondstep import WrongCode, subject_of_codes
from neurogrid.auth.sessions import hold_user
from neurogrid.auth.signin import PASSWORD, WrongCredentials, subject_of
from neurogrid.auth.tables import AuthSession, User
from neurogrid.auth.visitors import Visitor
from neurogrid.core.db import Database
from neurogrid.core.errors import Forbidden, Unauthenticated, Unavailable
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row

STEP_UP: Final = "passkey step-up"


class StepUpRequired(Forbidden):
    """The session is good, and its owner has to show again who they are."""

    code, title = "step_up_required", "Show again who you are"

    def __init__(self, *, factor: bool) -> None:
        how = "`code` or a passkey" if factor else "`password`"
        super().__init__(
            f"POST /v1/auth/step-up with your {how}, then repeat this request; signing in again does, too."
        )


class SessionRequired(Forbidden):
    """An API key asked for what only somebody who is signed in may."""

    code, title = "session_required", "Not by API key"

    def __init__(self) -> None:
        super().__init__(
            "An API key must not get hold of an account. Sign in (POST /v1/auth/token) and do it with the access token."
        )


class StepUp:
    """Asks for proof, and takes it."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        lockout: Lockout,
        factors: SecondFactors,
        passkeys: Passkeys,
        audit: Audit,
        lifetime: float,
    ) -> None:
        """Believe a proof for ``lifetime`` seconds."""
        self._database = database
        self._passwords = passwords
        self._lockout = lockout
        self._factors = factors
        self._passkeys = passkeys
        self._audit = audit
        self.lifetime = lifetime

    async def require(self, identity: Identity, proof: Proof) -> None:
        """Refuse who has not proven enough. Raises ``StepUpRequired`` or ``SessionRequired``.

        Asks the database each time: what was proven at one gateway counts at all of them, at once.
        """
        if proof is Proof.NONE:
            return
        if identity.session_id is None and proof is not Proof.RECENT:
            raise SessionRequired
        if identity.session_id is None or proof is Proof.SIGNED_IN:
            return
        row = await self._session(identity)
        recent = row["authenticated_at"] > now() - timedelta(seconds=self.lifetime)
        enough = not row["factor"] or SECOND & frozenset(row["methods"].split())
        if not recent or not enough:
            raise StepUpRequired(factor=row["factor"])

    async def by_password(self, identity: Identity, password: str, visitor: Visitor) -> None:
        """Take the password for proof. Raises ``WrongCredentials``, ``StepUpRequired`` or ``GuessesDelayed``."""
        row = await self._session(identity)
        if row["factor"]:
            raise StepUpRequired(factor=True)
        guess = await self._lockout.begin(subject_of(row["email"]), visitor.network, known=True)
        try:
            right = await self._passwords.verify(password, row["password_hash"])
        except Unavailable:
            await self._lockout.withdraw(guess)
            raise
        if not right:
            await self._note_failure(identity, visitor)
            raise WrongCredentials
        async with self._database.transaction() as transaction:
            await hold_user(transaction, identity.user_id)
            await self._lockout.succeeded(transaction, guess)
            await self._prove(transaction, identity, PASSWORD, visitor)

    async def by_code(self, identity: Identity, code: str, visitor: Visitor) -> None:
        """Take a code of an app or a recovery code for proof. Raises ``WrongCode`` or ``GuessesDelayed``."""
        await self._session(identity)
        guess: Guess = await self._lockout.begin(
            subject_of_codes(identity.user_id), visitor.network, known=True, rules=CODES
        )
        async with self._database.transaction() as transaction:
            await hold_user(transaction, identity.user_id)
            method = await self._factors.take(transaction, identity.user_id, code, visitor)
            if method is not None:
                await self._lockout.succeeded(transaction, guess)
                await self._prove(transaction, identity, method, visitor)
                return
        await self._note_failure(identity, visitor)
        raise WrongCode

    async def ask(self, identity: Identity) -> Json:
        """Return what a browser is to ask the caller's passkeys. Raises ``PasskeysUnavailable``."""
        row = await self._session(identity)
        return await self._passkeys.ask(STEP_UP, row["id"], identity.user_id)

    async def by_passkey(self, identity: Identity, credential: Json, visitor: Visitor) -> None:
        """Take what a passkey answered for proof. Raises ``PasskeyRefused``."""
        session = await self._session(identity)
        passkey, shown = await self._passkeys.judge(credential, STEP_UP, session["id"])
        if passkey["user_id"] != identity.user_id:
            raise PasskeyRefused
        async with self._database.transaction() as transaction:
            await hold_user(transaction, identity.user_id)
            if await self._passkeys.spend(transaction, passkey["id"], shown):
                await self._prove(transaction, identity, PASSKEY, visitor)
                return
        await self._passkeys.note_copy(passkey["id"], identity.user_id, visitor)
        raise PasskeyRefused

    async def _session(self, identity: Identity) -> Row:
        """Return the caller's session. Raises ``SessionRequired``, or ``Unauthenticated`` when it is gone."""
        if identity.session_id is None:
            raise SessionRequired
        row = await self._database.first(
            select(
                AuthSession.id, AuthSession.methods, AuthSession.authenticated_at, User.email,
                User.password_hash, has_second_factor().label("factor"),
            )
            .join(User, User.id == AuthSession.user_id)
            .where(AuthSession.id == identity.session_id, AuthSession.user_id == identity.user_id)
        )  # fmt: skip
        if row is None:
            msg = "The session has ended. Sign in again."
            raise Unauthenticated(msg)
        return row

    async def _prove(
        self, transaction: AsyncSession, identity: Identity, method: str, visitor: Visitor
    ) -> None:
        await prove(transaction, identity.session_id or "", method)
        await self._audit.note(
            transaction,
            "session.stepped_up",
            identity,
            identity.session_id,
            visitor.address,
            {"method": method},
        )

    async def _note_failure(self, identity: Identity, visitor: Visitor) -> None:
        async with self._database.transaction() as transaction:
            await self._audit.note(transaction, "step_up.failed", identity, identity.user_id, visitor.address)
