"""The identity behind a credential; accounts and keys as operators make them."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from neurogrid.auth import keyfamily, passwords, tokens
from neurogrid.auth.access import AccessTokens
from neurogrid.auth.audit import Audit
from neurogrid.auth.keyfamily import limits_of
from neurogrid.auth.keys import UNLIMITED, WantedKey, fresh, noted
from neurogrid.auth.methods import has_second_factor
from neurogrid.auth.passwords import Passwords
from neurogrid.auth.policy import Identity, KeyLimits, Permission, Role, Tier, scopes_of
from neurogrid.auth.sessions import living
from neurogrid.auth.tables import ApiKey, AuthSession, User
from neurogrid.auth.trail import Trail
from neurogrid.core import networks
from neurogrid.core.db import Database
from neurogrid.core.errors import Conflict, FieldError, Invalid, NotFound, Unauthenticated
from neurogrid.core.ids import new_id, now
from neurogrid.core.networks import Networks
from neurogrid.core.prepared import Row

CACHE_SECONDS = 5.0
"""How long an identity is believed without asking again: the promise of revocation (R28)."""
CACHE_SIZE = 10_000

MAX_ADDRESS = 254
_ADDRESS = re.compile(r"[^@\s\x00-\x1f<>\"]+@[^@\s\x00-\x1f<>\"]+")
"""A shape, not a proof: only a mail that arrives proves an address."""

MAX_TOKEN = 4096

_BAD_KEY = "The API key is not valid: it is unknown, revoked or expired."
_BAD_SESSION = "The session has ended, or the account is disabled. Sign in again."


class AuthService:
    """Answers who is calling; creates users and keys."""

    def __init__(
        self,
        database: Database,
        access: AccessTokens | None = None,
        *,
        verified_email: bool = False,
        factor_roles: Collection[str] = (),
    ) -> None:
        """Keep accounts in ``database``; without ``access`` only API keys are known.

        ``verified_email`` says whether submitting tasks takes a proven address, ``factor_roles`` who has to have a
        second factor.
        """
        self._database = database
        self._access = access
        self._passwords = Passwords()
        self._known: dict[str, tuple[float, Identity]] = {}
        self._generation = 0
        self._used: set[str] = set()
        self._used_keys: set[str] = set()
        self._audit = Audit(database)
        self.verified_email = verified_email
        self._factor_roles = frozenset(Role(role) for role in factor_roles)

    async def identify(self, token: str) -> Identity:
        """Return the identity behind an API key or an access token. Raises ``Unauthenticated``."""
        if len(token) > MAX_TOKEN:
            raise Unauthenticated(_BAD_KEY)
        digest = tokens.digest(token)
        found = self._known.get(digest)
        if found is not None and found[0] > time.monotonic():
            return found[1]
        generation = self._generation
        try:
            identity = await self._load(token, digest)
        except Unauthenticated:
            self._known.pop(digest, None)
            raise
        if generation == self._generation:  # a load begun before an invalidation is not kept (R28)
            self._remember(digest, identity)
        return identity

    async def _load(self, token: str, digest: str) -> Identity:
        if self._access is not None and token.startswith("ey"):  # as the JSON of every header begins
            return await self._of_session(self._access, token)
        if not tokens.well_formed(token, tokens.API_KEY):
            raise Unauthenticated(_BAD_KEY)
        row = await self._database.first(_KEYS.where(ApiKey.hash == digest, *_valid(now())))
        if row is None:
            raise Unauthenticated(_BAD_KEY)
        self._used_keys.add(row["key_id"])
        return self._of_key(row)

    async def _of_session(self, access: AccessTokens, token: str) -> Identity:
        claims = access.read(token)
        row = await self._database.first(
            _SESSIONS.where(AuthSession.id == claims.session_id, User.id == claims.user_id, *_alive(now()))
        )
        if row is None:
            raise Unauthenticated(_BAD_SESSION)
        self._used.add(claims.session_id)
        return replace(self._of_session_row(row), expires_at=claims.expires_at)

    def _of_key(self, row: Row) -> Identity:
        place = row["networks"]
        return Identity(
            row["id"], row["key_id"], Role(row["role"]), Tier(row["tier"]), scopes=scopes_of(row["scopes"]),
            email_verified=row["email_verified_at"] is not None, lacks_factor=self._lacks_factor(row),
            networks=None if place is None else networks.known(place), expires_at=row["expires_at"],
            limits=limits_of(row) or None, counted_as=row["counted_as"] or row["key_id"],
        )  # fmt: skip

    def _of_session_row(self, row: Row) -> Identity:
        return Identity(
            row["id"], None, Role(row["role"]), Tier(row["tier"]), row["session_id"],
            email_verified=row["email_verified_at"] is not None, lacks_factor=self._lacks_factor(row),
        )  # fmt: skip

    def _lacks_factor(self, row: Row) -> bool:
        return not row["factor"] and Role(row["role"]) in self._factor_roles

    def _remember(self, digest: str, identity: Identity) -> None:
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        believed = CACHE_SECONDS
        if identity.expires_at is not None:
            believed = min(believed, (identity.expires_at - now()).total_seconds())
        self._known[digest] = (time.monotonic() + believed, identity)

    async def recheck(self, identities: Iterable[Identity]) -> set[Identity]:
        """Return those of ``identities`` that still hold, asking once for all (R28)."""
        held = set(identities)
        keys = {identity.key_id for identity in held if identity.key_id is not None}
        sessions = {identity.session_id for identity in held if identity.session_id is not None}
        valid: set[Identity] = set()
        if keys:
            rows = await self._database.all(_KEYS.where(ApiKey.id.in_(keys), *_valid(now())))
            valid |= {self._of_key(row) for row in rows}
        if sessions:
            rows = await self._database.all(_SESSIONS.where(AuthSession.id.in_(sessions), *_alive(now())))
            valid |= {self._of_session_row(row) for row in rows}
        return held & valid

    def forget(self) -> None:
        """Believe nothing any longer that was read before: a credential or an account has changed (R28)."""
        self._generation += 1
        self._known.clear()

    async def note_uses(self) -> None:
        """Write down which sessions and keys were used since the last time, all at once and off every request's way."""
        sessions, self._used = self._used, set()
        keys, self._used_keys = self._used_keys, set()
        if not sessions and not keys:
            return
        moment = now()
        async with self._database.transaction() as transaction:
            for table, used in ((AuthSession, sessions), (ApiKey, keys)):
                rows = table.id.in_(used)
                # In one order, as other gateways do the same at the same time (R11).
                await transaction.execute(
                    select(table.id).where(rows).order_by(table.id).with_for_update(key_share=True)
                )
                await transaction.execute(update(table).where(rows).values(last_used_at=moment))

    async def create_user(self, email: str, role: Role, tier: Tier, password: str | None) -> str:
        """Create an account, for whose address the caller vouches, and return its id.

        Raises ``Invalid`` or ``Conflict``.
        """
        address = address_of(email)
        if password is not None:
            passwords.check(password, address)
        password_hash = await self._passwords.hash(password) if password is not None else None
        moment = now()
        user = User(
            id=new_id(), email=address, role=role.value, tier=tier.value, password_hash=password_hash,
            created_at=moment, disabled_at=None, email_verified_at=moment, password_changed_at=None,
        )  # fmt: skip
        try:
            async with self._database.transaction() as transaction:
                transaction.add(user)
                await transaction.flush()
                note = Trail(self._audit).of("user.created", user.id, role=role.value, tier=tier.value)
                await note(transaction)
        except IntegrityError:
            msg = f"There is an account for {address} already."
            raise Conflict(msg) from None
        return user.id

    async def has_users(self) -> bool:
        """Tell whether there is any account."""
        return await self._database.first(select(User.id).limit(1)) is not None

    async def create_key(
        self,
        email: str,
        name: str,
        lifetime: timedelta | None = None,
        scopes: frozenset[Permission] | None = None,
        places: Networks | None = None,
        limits: KeyLimits = UNLIMITED,
    ) -> str:
        """Create an API key for a user and return it; it cannot be read again. Raises ``NotFound``."""
        row = await self._database.first(
            select(User.id).where(func.lower(User.email) == email.strip().lower())
        )
        if row is None:
            msg = f"There is no account for {email}. Create one with `neurogrid user create`."
            raise NotFound(msg)
        expires = now() + lifetime if lifetime else None
        secret, key = fresh(row["id"], WantedKey(name, scopes, places, expires, limits))
        async with self._database.transaction() as transaction:
            transaction.add(key)
            await transaction.flush()
            await Trail(self._audit).of("key.created", key.id, user=row["id"], **noted(key))(transaction)
        return secret.text

    async def revoke_key(self, key_id: str) -> None:
        """Make a key and what it made useless: here at once, elsewhere within ``CACHE_SECONDS``."""
        async with self._database.transaction() as transaction:
            await keyfamily.revoke(Trail(self._audit), transaction, key_id)
        self.forget()


_KEYS = select(
    User.id, User.role, User.tier, User.email_verified_at, ApiKey.id.label("key_id"), ApiKey.scopes,
    ApiKey.networks, ApiKey.expires_at, ApiKey.requests_per_minute, ApiKey.requests_per_hour,
    ApiKey.tasks_per_hour, ApiKey.counted_as, has_second_factor().label("factor"),
).join(ApiKey, ApiKey.user_id == User.id)  # fmt: skip
_SESSIONS = select(
    User.id, User.role, User.tier, User.email_verified_at, AuthSession.id.label("session_id"),
    has_second_factor().label("factor"),
).join(AuthSession, AuthSession.user_id == User.id)  # fmt: skip


def _alive(moment: datetime) -> tuple:  # type: ignore[type-arg]
    return (*living(moment), User.disabled_at.is_(None))


def _valid(moment: datetime) -> tuple:  # type: ignore[type-arg]
    return (
        ApiKey.revoked_at.is_(None),
        ApiKey.expires_at.is_(None) | (ApiKey.expires_at > moment),
        User.disabled_at.is_(None),
    )


def is_address(text: str) -> bool:
    """Tell whether ``text`` looks like an address, and the database takes it."""
    return len(text) <= MAX_ADDRESS and _ADDRESS.fullmatch(text) is not None


def address_of(email: str) -> str:
    """Return an address in the form in which it is kept. Raises ``Invalid``."""
    address = email.strip().lower()
    if not is_address(address):
        msg = "That is no e-mail address."
        raise Invalid(msg, errors=[FieldError("email", "must look like name@host")])
    return address
