"""What administrators do with accounts: look at them, change role and tier, lock and unlock them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.policy import Proof, Role, Tier
from neurogrid.auth.sessions import Sessions
from neurogrid.auth.stepup import StepUp
from neurogrid.auth.tables import User
from neurogrid.auth.trail import Trail
from neurogrid.core.db import Database
from neurogrid.core.errors import Conflict, NotFound
from neurogrid.core.ids import is_id, now
from neurogrid.core.prepared import Row

_USER = select(
    User.id, User.email, User.role, User.tier, User.email_verified_at, User.created_at, User.disabled_at
)


class LastAdmin(Conflict):
    """Nobody would be left to administer the grid."""

    code, title = "last_admin", "The last administrator"

    def __init__(self) -> None:
        super().__init__("This is the last administrator who can sign in. Make somebody else one first.")


@dataclass(frozen=True, slots=True)
class WantedUsers:
    """Which users; ``email`` is how the address begins. ``None``: whatever it is."""

    role: Role | None = None
    tier: Tier | None = None
    email: str | None = None
    locked: bool | None = None


class Users:
    """The accounts of the grid."""

    def __init__(
        self, database: Database, sessions: Sessions, step_up: StepUp, forget: Callable[[], None]
    ) -> None:
        """Keep them in ``database``; ``step_up`` asks for proof before somebody is given another role; ``forget`` is called when somebody is no longer who they were."""
        self._database = database
        self._sessions = sessions
        self._step_up = step_up
        self._forget = forget

    async def page(self, wanted: WantedUsers, before: str | None, limit: int) -> list[Row]:
        """Return up to ``limit`` users, the newest first, older than ``before``."""
        statement = _USER.order_by(User.id.desc()).limit(limit)
        for condition in _conditions(wanted, before):
            statement = statement.where(condition)
        return await self._database.all(statement)

    async def one(self, id: str) -> Row:
        """Return a user. Raises ``NotFound``."""
        row = await self._database.first(_USER.where(User.id == id)) if is_id(id) else None
        if row is None:
            msg = "There is no user with this id."
            raise NotFound(msg)
        return row

    async def emails(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the addresses of those users of ``ids`` that exist."""
        rows = await self._database.all(select(User.id, User.email).where(User.id.in_(ids)))
        return {row["id"]: row["email"] for row in rows}

    async def several(self, transaction: AsyncSession, ids: Sequence[str]) -> list[Row]:
        """Return those users of ``ids`` that exist, in any order."""
        found = await transaction.execute(_USER.where(User.id.in_(ids)))
        return [dict(row) for row in found.mappings()]

    async def change(self, trail: Trail, id: str, role: Role | None, tier: Tier | None) -> Row:
        """Give a user another role or tier, from within 5 s on (R28). Raises ``NotFound`` or ``LastAdmin``.

        A role takes a recent proof, and no API key gives one: it would get beyond what it was made for.
        Raises ``StepUpRequired`` or ``SessionRequired``.
        """
        if role is not None and trail.identity is not None:
            await self._step_up.require(trail.identity, Proof.OWNER)
        await self.one(id)
        async with self._database.transaction() as transaction:
            await _keep_an_admin(transaction, id, lost=role not in {None, Role.ADMIN})
            found = select(User).where(User.id == id).with_for_update()
            user = (await transaction.scalars(found)).one()
            for name, wanted in (("role", role), ("tier", tier)):
                before = getattr(user, name)
                if wanted is not None and wanted.value != before:
                    setattr(user, name, wanted.value)
                    await transaction.flush()
                    note = trail.of(f"user.{name}_changed", id, before=before, after=wanted.value)
                    await note(transaction)
        self._forget()
        return await self.one(id)

    async def lock(self, trail: Trail, id: str) -> Row:
        """Let nobody in as this user: sessions end, keys do not hold. Raises ``NotFound`` or ``LastAdmin``."""
        await self.one(id)
        async with self._database.transaction() as transaction:
            await _keep_an_admin(transaction, id, lost=True)
            locked = await transaction.scalar(
                update(User)
                .where(User.id == id, User.disabled_at.is_(None))
                .values(disabled_at=now())
                .returning(User.id)
            )
            if locked is not None:
                await self._sessions.end_all(transaction, id, "locked")
                await trail.of("user.locked", id)(transaction)
        self._forget()
        return await self.one(id)

    async def unlock(self, trail: Trail, id: str) -> Row:
        """Let a user in again; keys hold again, sessions stay ended. Raises ``NotFound``."""
        await self.one(id)
        async with self._database.transaction() as transaction:
            unlocked = await transaction.scalar(
                update(User)
                .where(User.id == id, User.disabled_at.is_not(None))
                .values(disabled_at=None)
                .returning(User.id)
            )
            if unlocked is not None:
                await trail.of("user.unlocked", id)(transaction)
        self._forget()
        return await self.one(id)

    async def vouch(self, trail: Trail, id: str) -> Row:
        """Take a user's address for proven, on an operator's word. Raises ``NotFound``."""
        await self.one(id)
        async with self._database.transaction() as transaction:
            proven = await transaction.scalar(
                update(User)
                .where(User.id == id, User.email_verified_at.is_(None))
                .values(email_verified_at=now())
                .returning(User.id)
            )
            if proven is not None:
                await trail.of("user.verified", id)(transaction)
        self._forget()
        return await self.one(id)


async def _keep_an_admin(transaction: AsyncSession, id: str, *, lost: bool) -> None:
    """Refuse to lose the last administrator; two who would lose one another take turns. Raises ``LastAdmin``."""
    if not lost:
        return
    living = select(User.id).where(User.role == Role.ADMIN.value, User.disabled_at.is_(None))
    admins = set(await transaction.scalars(living.order_by(User.id).with_for_update()))
    if admins == {id}:
        raise LastAdmin


def _conditions(wanted: WantedUsers, before: str | None) -> list[Any]:
    conditions: list[Any] = []
    if before is not None:
        conditions.append(User.id < before)
    if wanted.role is not None:
        conditions.append(User.role == wanted.role.value)
    if wanted.tier is not None:
        conditions.append(User.tier == wanted.tier.value)
    if wanted.email is not None:
        conditions.append(func.lower(User.email).startswith(wanted.email.lower(), autoescape=True))
    if wanted.locked is not None:
        conditions.append(User.disabled_at.is_not(None) if wanted.locked else User.disabled_at.is_(None))
    return conditions
