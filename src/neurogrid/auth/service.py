"""Accounts, keys, and the identity behind a credential."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from neurogrid.auth import tokens
from neurogrid.auth.passwords import MINIMUM_LENGTH, Passwords
from neurogrid.auth.policy import Identity, Role, Tier
from neurogrid.auth.tables import ApiKey, User
from neurogrid.core.db import Database
from neurogrid.core.errors import Conflict, FieldError, Invalid, NotFound, Unauthenticated
from neurogrid.core.ids import new_id, now

CACHE_SECONDS = 5.0
"""How long an identity is believed without asking again: the promise of revocation (R28)."""
CACHE_SIZE = 10_000

MAX_ADDRESS = 254
_ADDRESS = re.compile(r"[^@\s\x00-\x1f<>\"]+@[^@\s\x00-\x1f<>\"]+")
"""A shape, not a proof: only a mail that arrives proves an address."""

_BAD_KEY = "The API key is not valid: it is unknown, revoked or expired."


class AuthService:
    """Answers who is calling; creates users and keys."""

    def __init__(self, database: Database) -> None:
        """Keep accounts in ``database``."""
        self._database = database
        self._passwords = Passwords()
        self._known: dict[str, tuple[float, Identity]] = {}
        self._generation = 0

    async def identify(self, token: str) -> Identity:
        """Return the identity behind an API key. Raises ``Unauthenticated``."""
        if not tokens.well_formed(token, tokens.API_KEY):
            raise Unauthenticated(_BAD_KEY)
        digest = tokens.digest(token)
        found = self._known.get(digest)
        if found is not None and found[0] > time.monotonic():
            return found[1]
        generation = self._generation
        row = await self._database.first(
            select(User.id, User.role, User.tier, ApiKey.id.label("key_id"))
            .join(ApiKey, ApiKey.user_id == User.id)
            .where(ApiKey.hash == digest, *_valid(now()))
        )
        if row is None:
            self._known.pop(digest, None)
            raise Unauthenticated(_BAD_KEY)
        identity = Identity(row["id"], row["key_id"], Role(row["role"]), Tier(row["tier"]))
        if generation == self._generation:  # a load begun before an invalidation is not kept (R28)
            self._remember(digest, identity)
        return identity

    def _remember(self, digest: str, identity: Identity) -> None:
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        self._known[digest] = (time.monotonic() + CACHE_SECONDS, identity)

    async def recheck(self, identities: Iterable[Identity]) -> set[Identity]:
        """Return those of ``identities`` that still hold, asking once for all (R28)."""
        held = set(identities)
        if not held:
            return held
        rows = await self._database.all(
            select(User.id, User.role, User.tier, ApiKey.id.label("key_id"))
            .join(ApiKey, ApiKey.user_id == User.id)
            .where(ApiKey.id.in_({identity.key_id for identity in held}), *_valid(now()))
        )
        return held & {
            Identity(row["id"], row["key_id"], Role(row["role"]), Tier(row["tier"])) for row in rows
        }

    async def create_user(self, email: str, role: Role, tier: Tier, password: str | None) -> str:
        """Create an account and return its id. Raises ``Invalid`` or ``Conflict``."""
        address = _address(email)
        if password is not None and len(password) < MINIMUM_LENGTH:
            message = f"at least {MINIMUM_LENGTH} characters"
            raise Invalid("The password is too short.", errors=[FieldError("password", message)])
        password_hash = await self._passwords.hash(password) if password is not None else None
        user = User(
            id=new_id(), email=address, role=role.value, tier=tier.value, password_hash=password_hash,
            created_at=now(), disabled_at=None,
        )  # fmt: skip
        try:
            async with self._database.transaction() as transaction:
                transaction.add(user)
        except IntegrityError:
            msg = f"There is an account for {address} already."
            raise Conflict(msg) from None
        return user.id

    async def has_users(self) -> bool:
        """Tell whether there is any account."""
        return await self._database.first(select(User.id).limit(1)) is not None

    async def create_key(self, email: str, name: str, lifetime: timedelta | None = None) -> str:
        """Create an API key for a user and return it; it cannot be read again. Raises ``NotFound``."""
        row = await self._database.first(
            select(User.id).where(func.lower(User.email) == email.strip().lower())
        )
        if row is None:
            msg = f"There is no account for {email}. Create one with `neurogrid user create`."
            raise NotFound(msg)
        secret = tokens.make(tokens.API_KEY)
        created = now()
        key = ApiKey(
            id=new_id(), user_id=row["id"], name=name, prefix=secret.shown, hash=secret.hash,
            created_at=created, expires_at=created + lifetime if lifetime else None, revoked_at=None,
        )  # fmt: skip
        async with self._database.transaction() as transaction:
            transaction.add(key)
        return secret.text

    async def revoke_key(self, key_id: str) -> None:
        """Make a key useless: here at once, elsewhere within ``CACHE_SECONDS``."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                update(ApiKey)
                .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
                .values(revoked_at=now())
            )
        self._generation += 1
        self._known.clear()


def _valid(moment: datetime) -> tuple:  # type: ignore[type-arg]
    return (
        ApiKey.revoked_at.is_(None),
        ApiKey.expires_at.is_(None) | (ApiKey.expires_at > moment),
        User.disabled_at.is_(None),
    )


def _address(email: str) -> str:
    address = email.strip().lower()
    if len(address) > MAX_ADDRESS or not _ADDRESS.fullmatch(address):
        msg = "That is no e-mail address."
        raise Invalid(msg, errors=[FieldError("email", "must look like name@host")])
    return address
