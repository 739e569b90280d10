"""Passkeys: made, listed, renamed, removed, and asked who somebody is."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import ceremonies
from neurogrid.auth.audit import Audit
from neurogrid.auth.ceremonies import Json, Known, PasskeyRefused, PasskeysUnavailable, RelyingParty, Shown
from neurogrid.auth.challenges import Challenges
from neurogrid.auth.factors import SecondFactors
from neurogrid.auth.methods import PASSKEY, kinds_of
from neurogrid.auth.policy import Identity
from neurogrid.auth.sessions import Sessions, hold_user
from neurogrid.auth.tables import Passkey, User
from neurogrid.auth.trail import Trail
from neurogrid.auth.visitors import Visitor, printable
from neurogrid.core.db import Database
from neurogrid.core.errors import Conflict, NotFound
from neurogrid.core.ids import is_id, new_id, now
from neurogrid.core.prepared import Row

log = structlog.get_logger(__name__)

MOST: Final = 20
ADD: Final = "passkey add"
UNNAMED: Final = "Passkey"
_PASSKEY = select(
    Passkey.id, Passkey.name, Passkey.backed_up, Passkey.aaguid, Passkey.created_at, Passkey.last_used_at
)
_UNKNOWN = "There is no passkey of yours with this id."


class TooManyPasskeys(Conflict):
    """The account has as many passkeys as one may have."""

    code, title = "too_many_passkeys", "Too many passkeys"


class Passkeys:
    """The passkeys of a grid."""

    def __init__(
        self,
        database: Database,
        party: RelyingParty | None,
        challenges: Challenges,
        factors: SecondFactors,
        sessions: Sessions,
        audit: Audit,
    ) -> None:
        """Keep them in ``database``, made for ``party``; without one there are none."""
        self._database = database
        self._known_party = party
        self._challenges = challenges
        self._factors = factors
        self._sessions = sessions
        self._audit = audit

    @property
    def _party(self) -> RelyingParty:
        if self._known_party is None:
            raise PasskeysUnavailable
        return self._known_party

    # --- making them --------------------------------------------------------------------------

    async def offer(self, identity: Identity) -> Json:
        """Return what a browser is to be asked to make a passkey. Raises ``PasskeysUnavailable`` or ``TooManyPasskeys``."""
        party, bound = self._party, identity.session_id or ""
        row = await self._database.first(select(User.email).where(User.id == identity.user_id))
        known = await self._credentials(identity.user_id)
        if row is None or len(known) >= MOST:
            msg = f"You have {len(known)} passkeys. Remove some that you no longer need."
            raise TooManyPasskeys(msg)
        challenge = await self._challenges.make(ADD, bound, identity.user_id)
        # The id of a user is random, and says nothing of them to whoever finds the authenticator.
        return ceremonies.creation_options(
            party, UUID(identity.user_id).bytes, row["email"], challenge, known
        )

    async def add(
        self, identity: Identity, credential: Json, name: str, transports: list[str], visitor: Visitor
    ) -> tuple[Row, list[str] | None]:
        """Keep the passkey that a browser made, and return it; with recovery codes, shown this once, if there were none.

        Raises ``PasskeyRefused`` or ``TooManyPasskeys``.
        """
        party = self._party
        challenge = await self._challenges.take(
            ceremonies.challenge_of(credential), ADD, identity.session_id or ""
        )
        made = ceremonies.read_new(party, credential, challenge)
        passkey = Passkey(
            id=new_id(), user_id=identity.user_id, credential_id=made.credential_id, public_key=made.public_key,
            sign_count=made.sign_count, name=printable(name) or UNNAMED, transports=" ".join(transports),
            aaguid=made.aaguid, backed_up=made.backed_up, created_at=now(), last_used_at=None,
        )  # fmt: skip
        try:
            async with self._database.transaction() as transaction:
                await hold_user(transaction, identity.user_id)
                count = select(func.count()).where(Passkey.user_id == identity.user_id)
                if (await transaction.scalar(count) or 0) >= MOST:
                    msg = f"You have {MOST} passkeys. Remove some that you no longer need."
                    raise TooManyPasskeys(msg)
                first = not await kinds_of(transaction, identity.user_id)
                transaction.add(passkey)
                await transaction.flush()
                codes = await self._factors.added(transaction, identity, PASSKEY, first=first)
                note = Trail(self._audit, identity, visitor.address).of("passkey.added", passkey.id)
                await note(transaction)
        except IntegrityError:  # somebody has this very credential already
            raise PasskeyRefused from None
        self._sessions.forget()
        return await self.one(identity.user_id, passkey.id), codes

    # --- looking after them -------------------------------------------------------------------

    async def of(self, user_id: str) -> list[Row]:
        """Return a user's passkeys, the oldest first."""
        return await self._database.all(_PASSKEY.where(Passkey.user_id == user_id).order_by(Passkey.id))

    async def one(self, user_id: str, id: str) -> Row:
        """Return a passkey of a user. Raises ``NotFound``."""
        found = _PASSKEY.where(Passkey.id == id, Passkey.user_id == user_id)
        row = await self._database.first(found) if is_id(id) else None
        if row is None:
            raise NotFound(_UNKNOWN)
        return row

    async def rename(self, user_id: str, id: str, name: str) -> Row:
        """Give a passkey another name. Raises ``NotFound``."""
        await self.one(user_id, id)
        async with self._database.transaction() as transaction:
            await transaction.execute(
                update(Passkey)
                .where(Passkey.id == id, Passkey.user_id == user_id)
                .values(name=printable(name) or UNNAMED)
            )
        return await self.one(user_id, id)

    async def remove(self, trail: Trail, user_id: str, id: str) -> None:
        """Take a passkey out of use. Raises ``NotFound``."""
        await self.one(user_id, id)
        async with self._database.transaction() as transaction:
            await hold_user(transaction, user_id)
            name = await transaction.scalar(
                delete(Passkey).where(Passkey.id == id, Passkey.user_id == user_id).returning(Passkey.name)
            )
            if name is None:
                raise NotFound(_UNKNOWN)
            await self._factors.removed(transaction, user_id, f"passkey “{name}”")
            await trail.of("passkey.removed", id)(transaction)
        self._sessions.forget()

    # --- asking them --------------------------------------------------------------------------

    async def ask(self, purpose: str, bound: str, user_id: str | None = None) -> Json:
        """Return what a browser is to ask: a passkey of ``user_id``, or of whoever it is, who then has to prove that it is they.

        Raises ``PasskeysUnavailable``.
        """
        party = self._party
        allowed = [] if user_id is None else await self._credentials(user_id)
        challenge = await self._challenges.make(purpose, bound, user_id)
        return ceremonies.request_options(party, challenge, allowed, verified=user_id is None)

    async def judge(self, credential: Json, purpose: str, bound: str) -> tuple[Row, Shown]:
        """Return the passkey that answered, with what it showed; to be ``spent``. Raises ``PasskeyRefused``."""
        party = self._party
        challenge = await self._challenges.take(ceremonies.challenge_of(credential), purpose, bound)
        try:
            id = ceremonies.decode(credential["id"])
            given = credential["response"].get("userHandle")
            handle = None if given is None else ceremonies.decode(given)
        except (KeyError, TypeError, ValueError):
            raise PasskeyRefused from None
        row = await self._database.first(
            select(Passkey.id, Passkey.user_id, Passkey.public_key).where(Passkey.credential_id == id)
        )
        if row is None or handle not in {None, UUID(row["user_id"]).bytes}:
            raise PasskeyRefused
        return row, ceremonies.read_answer(party, credential, challenge, row["public_key"])

    async def spend(self, transaction: AsyncSession, id: str, shown: Shown) -> bool:
        """Write down that a passkey was used; ``False`` if its counter says that there is a copy of it."""
        grown = Passkey.sign_count < shown.sign_count
        if shown.sign_count == 0:  # of an authenticator that does not count
            grown = Passkey.sign_count == 0
        spent = await transaction.scalar(
            update(Passkey)
            .where(Passkey.id == id, grown)
            .values(sign_count=shown.sign_count, backed_up=shown.backed_up, last_used_at=now())
            .returning(Passkey.id)
        )
        return spent is not None

    async def note_copy(self, id: str, user_id: str, visitor: Visitor) -> None:
        """Write down that a passkey's counter did not grow: somebody has a copy of it, or it was restored."""
        log.warning("passkey.counter_did_not_grow", passkey=id, user=user_id)
        async with self._database.transaction() as transaction:
            await self._audit.note(transaction, "passkey.copied", None, id, visitor.address)

    async def _credentials(self, user_id: str) -> list[Known]:
        rows = await self._database.all(
            select(Passkey.credential_id, Passkey.transports)
            .where(Passkey.user_id == user_id)
            .order_by(Passkey.id)
        )
        return [Known(row["credential_id"], tuple(row["transports"].split())) for row in rows]
