"""Keys and the keys that they made: what holds for one holds for those as well (AUTH-3).

A key says which key made it (``made_by``). The smaller of its limits and those of its makers is kept with it, so that
nobody has to ask for the makers when it is used. Who changes a family holds its owner first (``hold_user``), so that
no key is made meanwhile by one that has just been limited or revoked.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.policy import Identity, KeyLimits
from neurogrid.auth.tables import ApiKey
from neurogrid.auth.trail import Trail
from neurogrid.core import networks
from neurogrid.core.errors import Forbidden, Unauthenticated
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row


class NotGranted(Forbidden):
    """A key was asked for, or asked to be changed, that could do more than who asks for it."""

    code, title = "not_granted", "More than you may yourself"


def limits_of(key: ApiKey | Row) -> KeyLimits:
    """Return the limits that a key's row names."""
    if isinstance(key, ApiKey):
        return KeyLimits(key.requests_per_minute, key.requests_per_hour, key.tasks_per_hour)
    return KeyLimits(key["requests_per_minute"], key["requests_per_hour"], key["tasks_per_hour"])


def set_limits(limits: KeyLimits) -> dict[str, int]:
    """Return those of the limits that there are."""
    return {name: value for name, value in asdict(limits).items() if value is not None}


async def as_of_now(transaction: AsyncSession, identity: Identity) -> Identity:
    """Return who asks, by what the database says of their key now, and not seconds ago. Raises ``Unauthenticated``."""
    if identity.key_id is None:
        return identity
    key = await transaction.get(ApiKey, identity.key_id)
    if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now()):
        msg = "The API key is not valid: it is revoked or expired."
        raise Unauthenticated(msg)
    limits, counted_as = limits_of(key) or None, key.counted_as or key.id
    return replace(identity, limits=limits, counted_as=counted_as, expires_at=key.expires_at)


def refuse_stronger(identity: Identity, key: ApiKey) -> None:
    """Refuse an API key that lacks scopes which ``key`` has. Raises ``NotGranted``."""
    if identity.scopes is not None and (
        key.scopes is None or not frozenset(key.scopes.split()) <= identity.scopes
    ):
        msg = "This API key may do less than the one that you want to exchange or change."
        raise NotGranted(msg)


def refuse_change(identity: Identity, key: ApiKey) -> None:
    """Refuse an API key that has fewer scopes, networks or limits than ``key``. Raises ``NotGranted``."""
    refuse_stronger(identity, key)
    places = None if key.networks is None else networks.known(key.networks)
    if identity.networks is not None and (places is None or not places.within(identity.networks)):
        msg = "This API key may be used from fewer addresses than the one that you want to change."
        raise NotGranted(msg)
    if identity.limits is not None and not limits_of(key).within(identity.limits):
        msg = "This API key is limited to less than the one that you want to change."
        raise NotGranted(msg)


async def family(transaction: AsyncSession, id: str) -> list[ApiKey]:
    """Return a key, and all that it and those made; locked, in the order of their ids (R11), without revoked ones."""
    tree = select(ApiKey.id).where(ApiKey.id == id).cte("family", recursive=True)
    tree = tree.union(select(ApiKey.id).where(ApiKey.made_by == tree.c.id))
    found = select(ApiKey).where(ApiKey.id.in_(select(tree.c.id)), ApiKey.revoked_at.is_(None))
    return list(await transaction.scalars(found.order_by(ApiKey.id).with_for_update()))


async def bounded(transaction: AsyncSession, key: ApiKey, limits: KeyLimits) -> KeyLimits:
    """Return what of ``limits`` the maker of ``key`` leaves it."""
    maker = await transaction.get(ApiKey, key.made_by) if key.made_by is not None else None
    return limits if maker is None else limits.narrowed(limits_of(maker))


async def limit(trail: Trail, transaction: AsyncSession, keys: list[ApiKey], maker: ApiKey) -> None:
    """Let ``keys`` have no more than ``maker``, and share what it has: many would have many times as much."""
    most = limits_of(maker)
    for key in keys if most else ():
        before, counted_as = limits_of(key), maker.counted_as or maker.id
        if key.id == maker.id or (before.within(most) and key.counted_as == counted_as):
            continue
        key.counted_as = counted_as
        for name, value in asdict(before.narrowed(most)).items():
            setattr(key, name, value)
        await transaction.flush()
        await trail.of("key.limited", key.id, with_key=maker.id, **set_limits(limits_of(key)))(transaction)


async def revoke(trail: Trail, transaction: AsyncSession, id: str) -> None:
    """Revoke a key, and what it made: who got hold of it may have what it made."""
    for key in await family(transaction, id):
        key.revoked_at = now()
        await transaction.flush()
        more = {} if key.id == id else {"with_key": id}
        await trail.of("key.revoked", key.id, **more)(transaction)
