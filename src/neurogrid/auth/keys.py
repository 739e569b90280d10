"""API keys of users: made, exchanged, listed and revoked (AUTH-3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import keyfamily, tokens
from neurogrid.auth.keyfamily import NotGranted, as_of_now, limits_of
from neurogrid.auth.policy import Identity, KeyLimits, Permission
from neurogrid.auth.sessions import hold_user
from neurogrid.auth.tables import ApiKey, User
from neurogrid.auth.tokens import Secret
from neurogrid.auth.trail import Trail
from neurogrid.core import networks
from neurogrid.core.db import Database
from neurogrid.core.errors import Conflict, FieldError, Invalid, NotFound
from neurogrid.core.ids import is_id, new_id, now
from neurogrid.core.networks import Networks
from neurogrid.core.prepared import Row
from neurogrid.core.settings_auth import AuthSettings

_KEY = select(
    ApiKey.id, ApiKey.user_id, ApiKey.name, ApiKey.prefix, ApiKey.scopes, ApiKey.networks, ApiKey.created_at,
    ApiKey.expires_at, ApiKey.revoked_at, ApiKey.last_used_at, ApiKey.successor, ApiKey.requests_per_minute,
    ApiKey.requests_per_hour, ApiKey.tasks_per_hour, ApiKey.made_by,
)  # fmt: skip
UNLIMITED: Final = KeyLimits()
UNKNOWN = "There is no key of yours with this id."


class TooManyKeys(Conflict):
    """The user has as many keys as one may have."""

    code, title = "too_many_keys", "Too many keys"


@dataclass(frozen=True, slots=True)
class WantedKey:
    """What a key is to be; ``None`` is all permissions of the role, every address, and no end."""

    name: str
    scopes: frozenset[Permission] | None = None
    networks: Networks | None = None
    expires_at: datetime | None = None
    limits: KeyLimits = UNLIMITED
    counted_as: str | None = None
    """Under which key's id its limits are counted; its own by default."""
    made_by: str | None = None
    """The id of the key that asks for it."""


def fresh(user_id: str, wanted: WantedKey) -> tuple[Secret, ApiKey]:
    """Return a new key, and the row to keep of it."""
    secret = tokens.make(tokens.API_KEY)
    row = ApiKey(
        id=new_id(), user_id=user_id, name=wanted.name, prefix=secret.shown, hash=secret.hash, created_at=now(),
        expires_at=wanted.expires_at, revoked_at=None, last_used_at=None, successor=None,
        scopes=None if wanted.scopes is None else " ".join(sorted(wanted.scopes)),
        networks=None if wanted.networks is None else str(wanted.networks),
        counted_as=wanted.counted_as, made_by=wanted.made_by, **asdict(wanted.limits),
    )  # fmt: skip
    return secret, row


def noted(key: ApiKey) -> dict[str, Any]:
    """Return what the audit log says of a new key."""
    expires = key.expires_at.isoformat() if key.expires_at else None
    return {
        "prefix": key.prefix,
        "scopes": key.scopes,
        "networks": key.networks,
        "expires_at": expires,
        **keyfamily.set_limits(limits_of(key)),
    }


class ApiKeys:
    """The keys of those who ask. What one of them makes can do no more than itself, nor for longer."""

    def __init__(self, database: Database, settings: AuthSettings, forget: Callable[[], None]) -> None:
        """Keep keys in ``database``; ``forget`` is called when one no longer holds."""
        self._database = database
        self._settings = settings
        self.forget = forget

    async def create(
        self, transaction: AsyncSession, trail: Trail, identity: Identity, wanted: WantedKey
    ) -> tuple[str, Row]:
        """Make a key and return it with its row. Raises ``NotGranted``, ``TooManyKeys`` or ``Invalid``."""
        await hold_user(transaction, identity.user_id)
        identity = await as_of_now(transaction, identity)
        beyond = (wanted.scopes or frozenset()) - identity.permissions
        if beyond:
            msg = f"You cannot give away what you may not do yourself: {', '.join(sorted(beyond))}."
            raise NotGranted(msg)
        secret, key = fresh(identity.user_id, _bounded(identity, wanted))
        await self._make_room(transaction, identity.user_id)
        transaction.add(key)
        await transaction.flush()
        await trail.of("key.created", key.id, **noted(key))(transaction)
        return secret.text, _row_of(key)

    async def rotate(
        self,
        transaction: AsyncSession,
        trail: Trail,
        identity: Identity,
        id: str,
        *,
        overlap: float | None,
        expires_at: datetime | None,
    ) -> tuple[str, Row]:
        """Exchange a key for one that may do the same; the old one holds ``overlap`` seconds longer, then call ``forget``.

        Without ``expires_at`` the new one lasts as long as the old one was made to. Raises ``NotFound``,
        ``Conflict`` for a key that does not hold or was exchanged before, ``NotGranted`` or ``Invalid``.
        """
        old, made = await self._hold(transaction, identity.user_id, id)
        identity = await as_of_now(transaction, identity)
        if old.successor is not None:
            msg = "This key was exchanged already; exchange its successor."
            raise Conflict(msg)
        if expires_at is None and old.expires_at is not None:
            expires_at = now() + (old.expires_at - old.created_at)
        place = None if old.networks is None else networks.known(old.networks)
        counted_as = old.counted_as or old.id
        wanted = _bounded(identity, WantedKey(old.name, None, place, expires_at, limits_of(old), counted_as))
        keyfamily.refuse_stronger(identity, old)
        secret, key = fresh(identity.user_id, wanted)
        key.scopes = old.scopes
        key.made_by = old.made_by or (None if identity.key_id in {each.id for each in made} else key.made_by)
        seconds = self._settings.key_overlap if overlap is None else overlap
        ends = now() + timedelta(seconds=seconds)
        old.expires_at = ends if old.expires_at is None else min(ends, old.expires_at)
        old.successor = key.id
        for each in made:
            if each.made_by == old.id:
                each.made_by = key.id
        transaction.add(key)
        await transaction.flush()
        await trail.of("key.rotated", old.id, successor=key.id, overlap_s=seconds, **noted(key))(transaction)
        await keyfamily.limit(trail, transaction, [each for each in made if each.id != old.id], key)
        return secret.text, _row_of(key)

    async def widens(self, user_id: str, id: str, limits: KeyLimits) -> bool:
        """Tell whether a key would get more than it has. Raises ``NotFound``."""
        return not limits.within(limits_of(await self.one(user_id, id)))

    async def limit(
        self, trail: Trail, identity: Identity, id: str, limits: KeyLimits, *, may_widen: bool
    ) -> Row:
        """Give a key other limits of its own: they hold here at once, elsewhere within 5 s (R28).

        It gets no more than the key that made it, and keys that it made get no more than it. Raises ``NotFound``,
        ``NotGranted``, or ``Conflict`` for a key that does not hold, or that gets more though it may not.
        """
        async with self._database.transaction() as transaction:
            key, made = await self._hold(transaction, identity.user_id, id)
            identity = await as_of_now(transaction, identity)
            keyfamily.refuse_change(identity, key)
            if identity.limits is not None and not limits.within(identity.limits):
                msg = "This API key has limits of its own; it cannot give a key more than those."
                raise NotGranted(msg)
            if not may_widen and not limits.within(limits_of(key)):
                msg = "The limits of this key were changed at the same moment; look at them and repeat."
                raise Conflict(msg)
            held = await keyfamily.bounded(transaction, key, limits)
            for name, value in asdict(held).items():
                setattr(key, name, value)
            await transaction.flush()
            await trail.of("key.limited", key.id, **keyfamily.set_limits(held))(transaction)
            await keyfamily.limit(trail, transaction, made, key)
            row = _row_of(key)
        self.forget()
        return row

    async def _hold(self, transaction: AsyncSession, user_id: str, id: str) -> tuple[ApiKey, list[ApiKey]]:
        """Return a key of a user that holds, and its family, all locked. Raises ``NotFound`` or ``Conflict``."""
        await hold_user(transaction, user_id)
        if (
            not is_id(id)
            or await transaction.scalar(select(ApiKey.id).where(ApiKey.id == id, ApiKey.user_id == user_id))
            is None
        ):
            raise NotFound(UNKNOWN)
        keys = await keyfamily.family(transaction, id)
        key = next((each for each in keys if each.id == id), None)
        if key is None or (key.expires_at is not None and key.expires_at <= now()):
            msg = "This key is revoked or expired; make a new one."
            raise Conflict(msg)
        return key, keys

    async def _make_room(self, transaction: AsyncSession, user_id: str) -> None:
        """Refuse one key too many of a user, who is held. Raises ``TooManyKeys``."""
        living = select(func.count()).where(
            ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None), _unexpired()
        )
        if (await transaction.scalar(living) or 0) >= self._settings.max_keys:
            msg = f"You have {self._settings.max_keys} keys. Revoke some that you no longer need."
            raise TooManyKeys(msg)

    async def page(self, user_id: str, before: str | None, limit: int) -> list[Row]:
        """Return up to ``limit`` keys of a user, the newest first, older than ``before``."""
        statement = _KEY.where(ApiKey.user_id == user_id).order_by(ApiKey.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(ApiKey.id < before)
        return await self._database.all(statement)

    async def names(self, user_id: str) -> dict[str, str]:
        """Return the names of all keys a user ever had, by id."""
        rows = await self._database.all(select(ApiKey.id, ApiKey.name).where(ApiKey.user_id == user_id))
        return {row["id"]: row["name"] for row in rows}

    async def one(self, user_id: str, id: str) -> Row:
        """Return a key of a user. Raises ``NotFound``."""
        found = _KEY.where(ApiKey.id == id, ApiKey.user_id == user_id)
        row = await self._database.first(found) if is_id(id) else None
        if row is None:
            raise NotFound(UNKNOWN)
        return row

    async def revoke(self, trail: Trail, user_id: str, id: str) -> None:
        """Make a key and all that it made useless: here at once, elsewhere within 5 s (R28). Again, it changes nothing.

        Raises ``NotFound``.
        """
        await self.one(user_id, id)
        async with self._database.transaction() as transaction:
            await hold_user(transaction, user_id)
            await keyfamily.revoke(trail, transaction, id)
        self.forget()

    async def owner_of(self, email: str) -> str:
        """Return whose address that is, for operators on the server. Raises ``NotFound``."""
        row = await self._database.first(
            select(User.id).where(func.lower(User.email) == email.strip().lower())
        )
        if row is None:
            msg = f"There is no account for {email}. Create one with `neurogrid user create`."
            raise NotFound(msg)
        return str(row["id"])


def _row_of(key: ApiKey) -> Row:
    return {column.name: getattr(key, column.name) for column in _KEY.selected_columns}


def _bounded(identity: Identity, wanted: WantedKey) -> WantedKey:
    """Return what is wanted, as narrow as the key is that asks. Raises ``NotGranted`` or ``Invalid``."""
    if wanted.expires_at is not None and wanted.expires_at <= now():
        msg = "The key would have expired already."
        raise Invalid(msg, errors=[FieldError("expires_at", "lies in the past")])
    if identity.key_id is None:
        return wanted
    wanted = replace(wanted, made_by=identity.key_id)
    if wanted.scopes is None:
        wanted = replace(wanted, scopes=identity.scopes)
    if wanted.networks is None:
        wanted = replace(wanted, networks=identity.networks)
    elif identity.networks is not None and not wanted.networks.within(identity.networks):
        msg = "This API key may be used from fewer addresses than the one you want."
        raise NotGranted(msg)
    if identity.limits is not None:  # counted together, since many keys would have many times as much
        limits = wanted.limits.narrowed(identity.limits)
        wanted = replace(wanted, limits=limits, counted_as=identity.counted_as)
    if identity.expires_at is not None:
        wanted = replace(
            wanted, expires_at=min(wanted.expires_at or identity.expires_at, identity.expires_at)
        )
    return wanted


def _unexpired() -> Any:
    return or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())
