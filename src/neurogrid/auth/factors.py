"""What an account has besides its password: an authenticator app, passkeys, and recovery codes for when those are lost.

Whoever has any of the first two cannot sign in by password alone. Whatever is written here locks the user's row first,
so that two requests about one account take turns (R11).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import letters, recovery, totp
from neurogrid.auth.audit import Audit
from neurogrid.auth.mails import Letter, Mailbox
from neurogrid.auth.methods import PASSKEY, RECOVERY, TOTP, drop_all, kinds_of, prove
from neurogrid.auth.policy import Identity
from neurogrid.auth.sessions import Sessions, hold_user
from neurogrid.auth.tables import Passkey, User, UserTotp
from neurogrid.auth.trail import Trail
from neurogrid.auth.visitors import Visitor
from neurogrid.core.crypto import KID, Keyring
from neurogrid.core.db import Database
from neurogrid.core.errors import Conflict, FieldError, Invalid
from neurogrid.core.ids import now

log = structlog.get_logger(__name__)

TO_CONFIRM: Final = timedelta(hours=1)
"""How long a secret that was shown waits for its first code."""


class NoSecondFactor(Conflict):
    """Something was asked for that only an account with a second factor has."""

    code, title = "no_second_factor", "No second factor"

    def __init__(self) -> None:
        super().__init__("The account has none. An authenticator app begins with POST /v1/auth/2fa/totp.")


@dataclass(frozen=True, slots=True)
class Factors:
    """What an account has; ``totp_since`` is null without an authenticator app."""

    totp_since: datetime | None
    passkeys: int
    recovery_codes: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app is to be told, this once."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)


class SecondFactors:
    """Keeps second factors, and says whether a code is right."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        sessions: Sessions,
        mailbox: Mailbox,
        audit: Audit,
        url: str,
    ) -> None:
        """Keep them in ``database``, secrets sealed by ``keyring``; ``url`` is where mails say the grid is."""
        self._database = database
        self._keyring = keyring
        self._sessions = sessions
        self._mailbox = mailbox
        self._audit = audit
        self._url = url

    async def of(self, user_id: str) -> Factors:
        """Return what an account has."""
        passkeys = select(func.count()).where(Passkey.user_id == user_id).scalar_subquery()
        row = await self._database.first(
            select(
                select(UserTotp.confirmed_at)
                .where(UserTotp.user_id == user_id)
                .scalar_subquery()
                .label("since"),
                passkeys.label("passkeys"),
                recovery.unused(user_id).scalar_subquery().label("codes"),
            )
        )
        return Factors(row["since"], row["passkeys"], row["codes"]) if row else Factors(None, 0, 0)

    # --- authenticator app --------------------------------------------------------------------

    async def enrol(self, identity: Identity) -> Enrolment:
        """Return a secret that counts once it is confirmed. Raises ``Conflict`` where one counts already."""
        secret = totp.fresh()
        sealed = self._keyring.seal(secret.encode(), _place(identity.user_id))
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        async with self._database.transaction() as transaction:
            await hold_user(transaction, identity.user_id)
            kept = await transaction.scalar(
                insert(UserTotp)
                .values(
                    user_id=identity.user_id, secret=sealed, created_at=now(), confirmed_at=None, last_step=0
                )
                .on_conflict_do_update(
                    index_elements=(UserTotp.user_id,),
                    set_={"secret": sealed, "created_at": now()},
                    where=UserTotp.confirmed_at.is_(None),
                )
                .returning(UserTotp.user_id)
            )
            if kept is None:
                msg = (
                    "You have an authenticator app. To change it, remove it first (DELETE /v1/auth/2fa/totp)."
                )
                raise Conflict(msg)
            email = await transaction.scalar(select(User.email).where(User.id == identity.user_id))
        return Enrolment(secret, totp.uri(secret, email or ""))

    async def confirm(self, identity: Identity, code: str, visitor: Visitor) -> list[str] | None:
        """Take an app into use, by a code of its; return recovery codes if there were none. Raises ``Invalid``."""
        async with self._database.transaction() as transaction:
            await hold_user(transaction, identity.user_id)
            first = not await kinds_of(transaction, identity.user_id)
            waiting = (UserTotp.confirmed_at.is_(None), UserTotp.created_at > now() - TO_CONFIRM)
            step = await self._step(transaction, identity.user_id, code, waiting)
            if step is None:
                msg = "That is not what the app shows now, or the secret was shown over an hour ago."
                raise Invalid(msg, errors=[FieldError("code", "is wrong")])
            await transaction.execute(
                update(UserTotp)
                .where(UserTotp.user_id == identity.user_id)
                .values(confirmed_at=now(), last_step=step)
            )
            codes = await self.added(transaction, identity, TOTP, first=first)
            await self._audit.note(transaction, "totp.added", identity, identity.user_id, visitor.address)
        self._sessions.forget()
        return codes

    async def disable(self, identity: Identity, visitor: Visitor) -> None:
        """Take an app out of use. Raises ``NoSecondFactor``."""
        async with self._database.transaction() as transaction:
            await hold_user(transaction, identity.user_id)
            gone = await transaction.scalar(
                delete(UserTotp)
                .where(UserTotp.user_id == identity.user_id, UserTotp.confirmed_at.is_not(None))
                .returning(UserTotp.user_id)
            )
            if gone is None:
                raise NoSecondFactor
            await self.removed(transaction, identity.user_id, "authenticator app")
            await self._audit.note(transaction, "totp.removed", identity, identity.user_id, visitor.address)
        self._sessions.forget()

    async def reset(self, trail: Trail, user_id: str) -> None:
        """Take every second factor from somebody who lost them, as others may. Raises ``NoSecondFactor``."""
        async with self._database.transaction() as transaction:
            await hold_user(transaction, user_id)
            if not await kinds_of(transaction, user_id):
                raise NoSecondFactor
            await drop_all(transaction, user_id)
            await self.removed(transaction, user_id, "second factor")
            await trail.of("second_factor.reset", user_id)(transaction)
        self._sessions.forget()

    # --- codes --------------------------------------------------------------------------------

    async def renew_codes(self, identity: Identity, visitor: Visitor) -> list[str]:
        """Return fresh recovery codes, shown this once. Raises ``NoSecondFactor``."""
        async with self._database.transaction() as transaction:
            await hold_user(transaction, identity.user_id)
            if not await kinds_of(transaction, identity.user_id):
                raise NoSecondFactor
            codes = await recovery.renew(transaction, identity.user_id)
            await self.tell(transaction, identity.user_id, letters.recovery_codes_renewed(self._url))
            await self._audit.note(
                transaction, "recovery_codes.renewed", identity, identity.user_id, visitor.address
            )
        return codes

    async def take(self, transaction: AsyncSession, user_id: str, text: str, visitor: Visitor) -> str | None:
        """Use up a code of either kind and return which method that was; ``None`` if it is wrong.

        Neither a code of an app nor a recovery code is taken twice, on whatever gateways at once. The caller holds the
        user's row.
        """
        code = text.replace(" ", "")
        if totp.is_code(code):
            step = await self._step(transaction, user_id, code, (UserTotp.confirmed_at.is_not(None),))
            taken = step is not None and await self._spend(transaction, user_id, step)
            return TOTP if taken else None
        if not await kinds_of(transaction, user_id) or not await recovery.take(transaction, user_id, code):
            return None
        left = await recovery.left(transaction, user_id)
        await self.tell(transaction, user_id, letters.recovery_code_used(self._url, left))
        await self._audit.note(
            transaction, "recovery_code.used", user_id, user_id, visitor.address, {"left": left}
        )
        return RECOVERY

    async def _step(
        self,
        transaction: AsyncSession,
        user_id: str,
        code: str,
        conditions: tuple[ColumnElement[bool], ...],
    ) -> int | None:
        """Return the time step of a code, whether or not it was used; ``None`` if it is wrong."""
        sealed = await transaction.scalar(
            select(UserTotp.secret).where(UserTotp.user_id == user_id, *conditions)
        )
        if sealed is None or not totp.is_code(code):
            return None
        secret = self._keyring.unseal(sealed, _place(user_id))
        if secret is None:
            log.error("totp.unreadable", user=user_id, hint="the secret key it was sealed by is gone")
            return None
        if sealed[:KID].hex() != self._keyring.newest("seal").kid:
            again = self._keyring.seal(secret, _place(user_id))
            await transaction.execute(
                update(UserTotp).where(UserTotp.user_id == user_id).values(secret=again)
            )
        return totp.step_of(secret.decode(), code, now())

    async def _spend(self, transaction: AsyncSession, user_id: str, step: int) -> bool:
        """Use a time step up; ``False`` if it, or a later one, was."""
        spent = await transaction.scalar(
            update(UserTotp)
            .where(UserTotp.user_id == user_id, UserTotp.last_step < step)
            .values(last_step=step)
            .returning(UserTotp.user_id)
        )
        return spent is not None

    # --- what all kinds have in common --------------------------------------------------------

    async def added(
        self, transaction: AsyncSession, identity: Identity, method: str, *, first: bool
    ) -> list[str] | None:
        """Do what goes with a new factor; return recovery codes, to be shown this once, if there were none left.

        The first one ends all other sessions: they were begun by less than it takes from now on.
        """
        if first:
            await self._sessions.end_all(
                transaction, identity.user_id, "second factor set up", identity.session_id
            )
        if identity.session_id is not None:
            await prove(transaction, identity.session_id, method)
        await self.tell(transaction, identity.user_id, letters.factor_added(self._url, _NAMES[method]))
        if first or not await recovery.left(transaction, identity.user_id):
            return await recovery.renew(transaction, identity.user_id)
        return None

    async def removed(self, transaction: AsyncSession, user_id: str, name: str) -> None:
        """Do what goes with a factor that is gone: after the last one, recovery codes stand for nothing."""
        if not await kinds_of(transaction, user_id):
            await recovery.drop(transaction, user_id)
        await self.tell(transaction, user_id, letters.factor_removed(self._url, name))

    async def tell(self, transaction: AsyncSession, user_id: str, letter: Letter) -> None:
        """Mail the owner of an account, if the transaction commits."""
        email = await transaction.scalar(select(User.email).where(User.id == user_id))
        if email is not None:
            await self._mailbox.write(transaction, email, letter)


_NAMES: Final = {TOTP: "authenticator app", PASSKEY: "passkey"}


def _place(user_id: str) -> str:
    return f"totp {user_id}"
