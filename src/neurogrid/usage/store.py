"""Reads and sums of what was used: the days, and the deltas that are not rolled up yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import BigInteger, bindparam, cast, delete, func, literal_column, select, tuple_, union_all
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.core.db import Database
from neurogrid.core.prepared import Prepared, Row
from neurogrid.queue.tables import UsageDelta
from neurogrid.usage.policy import Month, Override, Used
from neurogrid.usage.tables import UsageDay, UserQuota

PLACE: Final = ("user_id", "day", "key_id", "model")
FIGURES: Final = ("requests", "prompt_tokens", "completion_tokens", "compute_us")


def _columns(table: type[UsageDay | UsageDelta]) -> list[Any]:
    return [getattr(table, name) for name in (*PLACE, *FIGURES)]


def _known(user: Any, first: Any, end: Any) -> Any:
    """Return days and deltas from ``first`` to before ``end`` as one table, of one user or (``None``) of all."""
    parts = []
    for table in (UsageDay, UsageDelta):
        part = select(*_columns(table)).where(table.day >= first, table.day < end)
        parts.append(part if user is None else part.where(table.user_id == user))
    return union_all(*parts).subquery("known")


_ZERO = literal_column("0", BigInteger)
"""No value: a prepared statement has parameters only."""


def _sums(known: Any) -> list[Any]:
    return [cast(func.coalesce(func.sum(known.c[name]), _ZERO), BigInteger).label(name) for name in FIGURES]


USED = Prepared(select(*_sums(_known(bindparam("user"), bindparam("first"), bindparam("end")))))
OVERRIDE = Prepared(
    select(UserQuota.tasks, UserQuota.tokens, UserQuota.compute_seconds).where(
        UserQuota.user_id == bindparam("user")
    )
)


@dataclass(frozen=True, slots=True)
class Span:
    """Days from ``first`` to the one before ``end``, of one user or of all."""

    first: date
    end: date
    user: str | None = None

    def known(self) -> Any:
        """Return what was used in it, as a table."""
        return _known(self.user, self.first, self.end)


class UsageStore:
    """Queries of the usage feature; what is charged is the journal's."""

    def __init__(self, database: Database) -> None:
        """Read from ``database``."""
        self._database = database

    async def month(self, user: str, month: Month) -> Used:
        """Return what a user used in a month."""
        row = await self._database.read_one(USED, user=user, first=month.first, end=month.next.first)
        return _used(row) if row is not None else Used()

    async def total(self, span: Span) -> Used:
        """Return what was used in all."""
        row = await self._database.first(select(*_sums(span.known())))
        return _used(row) if row is not None else Used()

    async def grouped(self, span: Span, by: str, limit: int) -> list[tuple[Any, Used]]:
        """Return what was used by day, model or key: one of ``PLACE``, in its order, ``limit`` rows at most."""
        known = span.known()
        column = known.c[by]
        rows = await self._database.all(
            select(column.label("group"), *_sums(known)).group_by(column).order_by(column).limit(limit)
        )
        return [(row["group"], _used(row)) for row in rows]

    async def top(self, span: Span, by: str, limit: int) -> list[tuple[str, Used]]:
        """Return who used most, by ``requests``, ``tokens`` or ``compute_seconds``."""
        known = span.known()
        most = {
            "requests": func.sum(known.c.requests),
            "tokens": func.sum(known.c.prompt_tokens + known.c.completion_tokens),
            "compute_seconds": func.sum(known.c.compute_us),
        }[by]
        rows = await self._database.all(
            select(known.c.user_id, *_sums(known))
            .group_by(known.c.user_id)
            .order_by(most.desc(), known.c.user_id)
            .limit(limit)
        )
        return [(row["user_id"], _used(row)) for row in rows]

    async def lines(self, span: Span, after: tuple[date, str, str] | None, limit: int) -> list[Row]:
        """Return up to ``limit`` rows by day, key and model, in that order, from the one after ``after`` on."""
        known = span.known()
        place = (known.c.day, known.c.key_id, known.c.model)
        query = select(*place, *_sums(known)).group_by(*place).order_by(*place).limit(limit)
        if after is not None:
            query = query.where(tuple_(*place) > after)
        return await self._database.all(query)

    async def override(self, user: str) -> Override | None:
        """Return what an administrator set for a user."""
        row = await self._database.read_one(OVERRIDE, user=user)
        return _override(row) if row is not None else None

    async def set_override(self, transaction: AsyncSession, user: str, own: Override, at: Any) -> None:
        """Set it."""
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        values = {"tasks": own.tasks, "tokens": own.tokens, "compute_seconds": own.compute_seconds}
        statement = insert(UserQuota).values(user_id=user, updated_at=at, **values)
        await transaction.execute(
            statement.on_conflict_do_update(
                index_elements=[UserQuota.user_id], set_={**values, "updated_at": at}
            )
        )

    async def drop_override(self, transaction: AsyncSession, user: str) -> bool:
        """Leave a user what the tier has; ``False`` if it was so."""
        gone = await transaction.execute(
            delete(UserQuota).where(UserQuota.user_id == user).returning(UserQuota.user_id)
        )
        return gone.first() is not None

    async def overrides(self, transaction: AsyncSession, users: Collection[str]) -> dict[str, Override]:
        """Return what administrators set for those of ``users`` for whom they did."""
        columns = (UserQuota.user_id, UserQuota.tasks, UserQuota.tokens, UserQuota.compute_seconds)
        found = await transaction.execute(select(*columns).where(UserQuota.user_id.in_(users)))
        rows = found.mappings()
        return {row["user_id"]: _override(dict(row)) for row in rows}


def _override(row: Row) -> Override:
    return Override(row["tasks"], row["tokens"], row["compute_seconds"])


def _used(row: Row) -> Used:
    return Used(*(int(row[name]) for name in FIGURES))


async def month_of_users(transaction: AsyncSession, users: Sequence[str], month: Month) -> dict[str, Used]:
    """Return what each of ``users`` used in a month, as far as it is rolled up."""
    sums = [cast(func.sum(getattr(UsageDay, name)), BigInteger).label(name) for name in FIGURES]
    rows = await transaction.execute(
        select(UsageDay.user_id, *sums)
        .where(UsageDay.user_id.in_(users), UsageDay.day >= month.first, UsageDay.day < month.next.first)
        .group_by(UsageDay.user_id)
    )
    return {row[0]: Used(*(int(figure) for figure in row[1:])) for row in rows}
