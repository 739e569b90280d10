"""Compares what was charged with what the tasks say (LIM-7).

Charged is what stands in the days and in the deltas; owed is what the rows of tasks say, and what is kept of rows that no
longer do (``UsageArchive``). Each of the journal's transactions changes both alike, so that one statement, which sees one
moment, finds no difference, however busy the grid is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import BigInteger, Date, Select, String, case, cast, func, literal_column, select, union_all
from sqlalchemy import literal as value
from sqlalchemy import type_coerce as coerce
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.core.db import Database, Id
from neurogrid.core.prepared import Row
from neurogrid.queue import usage
from neurogrid.queue.tables import Task, UsageArchive, UsageDelta
from neurogrid.usage.policy import Used
from neurogrid.usage.rollup import take_turn
from neurogrid.usage.store import FIGURES, PLACE
from neurogrid.usage.tables import UsageDay

CHARGED: Final = "charged"
OWED: Final = "owed"


@dataclass(frozen=True, slots=True)
class Drift:
    """Where what was charged is not what is owed."""

    user: str
    day: date
    key: str
    model: str
    charged: Used
    owed: Used


class Reconciliation:
    """Finds drift, and mends it."""

    def __init__(self, database: Database) -> None:
        """Compare in ``database``."""
        self._database = database

    async def drift(self, first: date | None = None, end: date | None = None) -> list[Drift]:
        """Return all differences of the days from ``first`` to before ``end``, by user and day."""
        return [_drift(row) for row in await self._database.all(self._differences(first, end))]

    async def mend(self, first: date | None = None, end: date | None = None) -> list[Drift]:
        """Charge what is owed and return what was different; the next roll-up puts it into the days."""
        async with self._database.transaction() as transaction:
            await take_turn(transaction, wait=True, sqlite=self._database.sqlite)
            found = (await transaction.execute(self._differences(first, end))).mappings()
            drifts = [_drift(dict(row)) for row in found]
            _charge(transaction, drifts)
        return drifts

    def _differences(self, first: date | None, end: date | None) -> Select[Any]:
        all_ = union_all(*self._sides()).subquery("sides")
        place = [all_.c[name] for name in PLACE]
        sums = {
            f"{side}_{name}": cast(func.sum(case((all_.c.side == side, all_.c[name]), else_=0)), BigInteger)
            for side in (CHARGED, OWED)
            for name in FIGURES
        }
        differ = [sums[f"{CHARGED}_{name}"] != sums[f"{OWED}_{name}"] for name in FIGURES]
        query = select(*place, *(column.label(name) for name, column in sums.items()))
        if first is not None:
            query = query.where(all_.c.day >= first)
        if end is not None:
            query = query.where(all_.c.day < end)
        different = differ[0]
        for one in differ[1:]:
            different |= one
        return query.group_by(*place).having(different).order_by(*place)

    def _sides(self) -> list[Select[Any]]:
        nothing = [value(0, BigInteger)] * 3
        key = func.coalesce(Task.key_id, value(usage.NO_KEY, Id))
        compute: Any = literal_column(
            usage.SQLITE_MICROSECONDS if self._database.sqlite else usage.MICROSECONDS
        )
        counted = select(
            Task.owner_id.label("user_id"),
            self._day(Task.created_at).label("day"),
            key.label("key_id"),
            Task.model,
            value(1, BigInteger).label("requests"),
            *(each.label(name) for each, name in zip(nothing, FIGURES[1:], strict=True)),
            _side(OWED),
        )
        used = select(
            Task.owner_id,
            self._day(Task.finished_at),
            key,
            Task.model,
            value(0, BigInteger),
            Task.prompt_tokens,
            Task.completion_tokens,
            compute,
            _side(OWED),
        ).where(Task.finished_at.is_not(None), Task.leader_id.is_(None))
        return [
            counted,
            used,
            *(
                select(*(getattr(table, name) for name in (*PLACE, *FIGURES)), _side(side))
                for table, side in ((UsageArchive, OWED), (UsageDay, CHARGED), (UsageDelta, CHARGED))
            ),
        ]

    def _day(self, moment: Any) -> Any:
        if self._database.sqlite:
            return coerce(func.date(moment), Date)
        return cast(func.timezone("UTC", moment), Date)


def _side(name: str) -> Any:
    return value(name, String).label("side")


def _charge(transaction: AsyncSession, drifts: list[Drift]) -> None:
    for drift in drifts:
        missing = {
            name: getattr(drift.owed, name) - getattr(drift.charged, name) for name in FIGURES
        }  # fmt: skip
        transaction.add(
            UsageDelta(user_id=drift.user, key_id=drift.key, model=drift.model, day=drift.day, **missing)
        )


def _drift(row: Row) -> Drift:
    charged, owed = (Used(*(int(row[f"{side}_{name}"]) for name in FIGURES)) for side in (CHARGED, OWED))
    return Drift(row["user_id"], row["day"], row["key_id"], row["model"], charged, owed)
