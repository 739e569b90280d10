"""The second step of signing in: what was shown first waits under a ticket until a second factor is shown as well.

A ticket is good for that alone, once, for a few minutes and a few tries. Wrong codes also count for the account, over
all tickets: who gets this far knows the password, and a code has six digits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import letters, tokens
from neurogrid.auth.audit import Audit
from neurogrid.auth.ceremonies import Json, PasskeyRefused
from neurogrid.auth.factors import SecondFactors
from neurogrid.auth.lockout import CODES, Lockout
from neurogrid.auth.mails import Mailbox
from neurogrid.auth.methods import PASSKEY, RECOVERY, SECOND, kinds_of
from neurogrid.auth.onetime import SECOND_STEP, OneTimeTokens
from neurogrid.auth.passkeys import Passkeys
from neurogrid.auth.policy import Role
from neurogrid.auth.sessions import Issued, hold_user
from neurogrid.auth.signin import Account, Pending, SignIn
from neurogrid.auth.tables import User
from neurogrid.auth.visitors import Visitor
from neurogrid.core.db import Database
from neurogrid.core.errors import Unauthenticated
from neurogrid.core.prepared import Row

TRIES: Final = 5
SIGN_IN: Final = "passkey sign-in"
WITH_TICKET: Final = "passkey second step"


class WrongCode(Unauthenticated):
    """The code is not one of the account's, or was used before."""

    code, title = "wrong_code", "Not signed in"

    def __init__(self) -> None:
        super().__init__("The code is wrong, or was used before. Wait for the next one of your app.")


class SignInExpired(Unauthenticated):
    """There is no sign-in that waits under this ticket."""

    code, title = "sign_in_expired", "Not signed in"

    def __init__(self) -> None:
        super().__init__(
            "The ticket is unknown, used, expired, or had too many wrong codes. Begin again with your password."
        )


class Tickets:
    """Says what a sign-in lacks."""

    def __init__(self, one_time: OneTimeTokens, lifetime: float) -> None:
        """Make tickets that are good for ``lifetime`` seconds."""
        self._tokens = one_time
        self._lifetime = lifetime

    async def hold(
        self, transaction: AsyncSession, account: Account, methods: frozenset[str]
    ) -> Pending | None:
        """Return what stands for ``methods`` until a second factor is shown; ``None`` if none is needed."""
        if methods & SECOND:
            return None
        kinds = await kinds_of(transaction, account.id)
        if not kinds:
            return None
        ticket = await self._tokens.add(
            transaction, tokens.TICKET, SECOND_STEP, account.id, timedelta(seconds=self._lifetime),
            orjson.dumps(sorted(methods)).decode(),
        )  # fmt: skip
        return Pending(ticket, (*kinds, RECOVERY), round(self._lifetime))


class SecondStep:
    """Completes sign-ins by codes and passkeys, and begins those that take a passkey alone."""

    def __init__(
        self,
        database: Database,
        one_time: OneTimeTokens,
        lockout: Lockout,
        factors: SecondFactors,
        passkeys: Passkeys,
        sign_in: SignIn,
        mailbox: Mailbox,
        audit: Audit,
        url: str,
    ) -> None:
        """Complete the sign-ins of ``sign_in``; ``url`` is where mails say the grid is."""
        self._database = database
        self._tokens = one_time
        self._lockout = lockout
        self._factors = factors
        self._passkeys = passkeys
        self._sign_in = sign_in
        self._mailbox = mailbox
        self._audit = audit
        self._url = url

    async def by_password(
        self, email: str, password: str, code: str | None, visitor: Visitor
    ) -> Issued | Pending:
        """Sign somebody in by password, and by ``code`` in one go if that is needed and given."""
        done = await self._sign_in.by_password(email, password, visitor)
        if isinstance(done, Pending) and code:
            done, _ = await self.by_code(done.ticket, code, visitor)
        return done

    async def by_code(self, ticket: str, code: str, visitor: Visitor) -> tuple[Issued | Pending, str]:
        """Go on with a code of an app or a recovery code; return the address as well.

        Raises ``SignInExpired``, ``WrongCode`` or ``GuessesDelayed``.
        """
        waiting = await self._waiting(ticket)
        user_id, email = waiting["user_id"], waiting["email"]
        place, known = await self._sign_in.place_of(user_id, email, visitor)
        guess = await self._lockout.begin(subject_of_codes(user_id), place, known=known, rules=CODES)
        async with self._database.transaction() as transaction:
            account = await self._account(transaction, user_id)
            method = await self._factors.take(transaction, user_id, code, visitor)
            if method is not None:
                done = await self._go_on(transaction, ticket, waiting, account, method, visitor)
                await self._lockout.succeeded(transaction, guess)
                return done, email
        await self._note_failure(waiting, visitor)
        raise WrongCode

    async def ask(self, ticket: str) -> Json:
        """Return what a browser is to ask the passkeys of whoever signs in. Raises ``SignInExpired``."""
        row = await self._tokens.find(ticket, tokens.TICKET, SECOND_STEP)
        if row is None:
            raise SignInExpired
        return await self._passkeys.ask(WITH_TICKET, tokens.digest(ticket), row["id"])

    async def by_passkey(
        self, ticket: str, credential: Json, visitor: Visitor
    ) -> tuple[Issued | Pending, str]:
        """Go on with what a passkey answered; return the address as well.

        Raises ``SignInExpired`` or ``PasskeyRefused``.
        """
        waiting = await self._waiting(ticket)
        passkey, shown = await self._passkeys.judge(credential, WITH_TICKET, tokens.digest(ticket))
        if passkey["user_id"] != waiting["user_id"]:
            raise PasskeyRefused
        async with self._database.transaction() as transaction:
            account = await self._account(transaction, passkey["user_id"])
            if await self._passkeys.spend(transaction, passkey["id"], shown):
                done = await self._go_on(transaction, ticket, waiting, account, PASSKEY, visitor)
                return done, account.email
        await self._passkeys.note_copy(passkey["id"], passkey["user_id"], visitor)
        raise PasskeyRefused

    async def ask_anybody(self) -> Json:
        """Return what a browser is to ask whoever wants to sign in without a password. Raises ``PasskeysUnavailable``."""
        return await self._passkeys.ask(SIGN_IN, "")

    async def by_passkey_alone(self, credential: Json, visitor: Visitor) -> tuple[Issued | Pending, str]:
        """Sign in whoever a passkey says; it has to have made sure of them. Return the address as well.

        Raises ``PasskeyRefused``.
        """
        passkey, shown = await self._passkeys.judge(credential, SIGN_IN, "")
        if not shown.verified:
            raise PasskeyRefused
        async with self._database.transaction() as transaction:
            account = await self._account(transaction, passkey["user_id"])
            if await self._passkeys.spend(transaction, passkey["id"], shown):
                methods = frozenset({PASSKEY})
                done = await self._sign_in.complete(transaction, account, methods, visitor)
                return done, account.email
        await self._passkeys.note_copy(passkey["id"], passkey["user_id"], visitor)
        raise PasskeyRefused

    async def _waiting(self, ticket: str) -> Row:
        """Count a try with a ticket, and return what waits under it. Raises ``SignInExpired``."""
        row = await self._tokens.attempt(ticket, tokens.TICKET, SECOND_STEP, TRIES)
        if row is None:
            raise SignInExpired
        email = await self._database.first(select(User.email).where(User.id == row["user_id"]))
        return {**row, "email": email["email"] if email else ""}

    async def _account(self, transaction: AsyncSession, user_id: str) -> Account:
        """Return who may sign in, held as long as the transaction. Raises ``SignInExpired``."""
        await hold_user(transaction, user_id)
        found = await transaction.execute(
            select(User.id, User.email, User.role).where(User.id == user_id, User.disabled_at.is_(None))
        )
        row = found.mappings().first()
        if row is None:
            raise SignInExpired
        return Account(row["id"], row["email"], Role(row["role"]))

    async def _go_on(
        self,
        transaction: AsyncSession,
        ticket: str,
        waiting: Row,
        account: Account,
        method: str,
        visitor: Visitor,
    ) -> Issued | Pending:
        if not await self._tokens.spend(transaction, ticket, tokens.TICKET, SECOND_STEP):
            raise SignInExpired
        methods = frozenset({*orjson.loads(waiting["payload"]), method})
        return await self._sign_in.complete(transaction, account, methods, visitor)

    async def _note_failure(self, waiting: Row, visitor: Visitor) -> None:
        async with self._database.transaction() as transaction:
            last = waiting["attempts"] == TRIES
            if last and await self._mailbox.may_write(transaction, waiting["email"]):
                await self._mailbox.write(transaction, waiting["email"], letters.wrong_codes(self._url))
            await self._audit.note(
                transaction, "second_step.failed", None, waiting["user_id"], visitor.address
            )


def subject_of_codes(user_id: str) -> str:
    """Return what guesses at the codes of a user are counted under."""
    return f"code {user_id}"
