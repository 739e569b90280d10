"""What users and administrators ask about usage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from neurogrid.auth.keys import ApiKeys
from neurogrid.auth.policy import Identity, Permission, Tier
from neurogrid.auth.users import Users
from neurogrid.core.errors import FieldError, Forbidden, Invalid
from neurogrid.core.ids import now
from neurogrid.usage import export
from neurogrid.usage.policy import Month
from neurogrid.usage.quotas import Quotas
from neurogrid.usage.schemas import (
    Figures,
    MonthView,
    QuotaView,
    TopUser,
    TopUsers,
    Usage,
    UsageGroup,
    key_of,
)
from neurogrid.usage.store import Span, UsageStore

GroupBy = Literal["day", "model", "key"]
Most = Literal["requests", "tokens", "compute_seconds"]
MOST_DAYS: Final = 366
MOST_GROUPS: Final = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Days, both included, and whose; without them the current month, and the caller's."""

    first: date | None = None
    last: date | None = None
    user: str | None = None


class UsageService:
    """Answers from what is charged by now."""

    def __init__(
        self,
        store: UsageStore,
        quotas: Quotas,
        users: Users,
        keys: ApiKeys,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Read from ``store``."""
        self._store = store
        self._users = users
        self._keys = keys
        self._clock = clock
        self.quotas = quotas

    async def usage(self, actor: Identity, wanted: Wanted, by: GroupBy) -> Usage:
        """Return what was used, by day, model or key. Raises ``Invalid``, ``Forbidden``, ``NotFound``."""
        span = self._span(wanted, await self._whose(actor, wanted.user))
        groups = await self._store.grouped(span, "key_id" if by == "key" else by, MOST_GROUPS)
        names = await self._keys.names(span.user) if by == "key" and span.user is not None else {}
        return Usage(
            user_id=span.user,
            first=span.first,
            last=span.end - timedelta(days=1),
            group_by=by,
            data=[
                UsageGroup(**_named(by, group, names), **Figures.shown(used))  # type: ignore[arg-type]
                for group, used in groups
            ],
            total=Figures(**Figures.shown(await self._store.total(span))),  # type: ignore[arg-type]
        )

    async def month(self, actor: Identity) -> MonthView:
        """Return where the caller stands."""
        return MonthView.of(actor.user_id, await self.quotas.standing(actor.user_id, actor.tier))

    async def quota(self, user: str) -> QuotaView:
        """Return where a user stands. Raises ``NotFound``."""
        row = await self._users.one(user)
        return QuotaView.of(user, await self.quotas.standing(user, Tier(row["tier"])))

    async def table(self, actor: Identity, wanted: Wanted) -> AsyncIterator[bytes]:
        """Return all of it as CSV, in pieces. Raises ``Invalid``, ``Forbidden``, ``NotFound``."""
        span = self._span(wanted, await self._whose(actor, wanted.user))
        names = await self._keys.names(span.user) if span.user is not None else {}
        return export.lines(self._store, span, names)

    async def top(self, wanted: Wanted, by: Most, limit: int) -> TopUsers:
        """Return who used most. Raises ``Invalid``."""
        span = self._span(wanted, None)
        found = await self._store.top(span, by, limit)
        emails = await self._users.emails([user for user, _ in found])
        return TopUsers(
            first=span.first,
            last=span.end - timedelta(days=1),
            data=[
                TopUser(user_id=user, email=emails.get(user), **Figures.shown(used))  # type: ignore[arg-type]
                for user, used in found
            ],
            total=Figures(**Figures.shown(await self._store.total(span))),  # type: ignore[arg-type]
        )

    async def _whose(self, actor: Identity, user: str | None) -> str | None:
        if user is None or user == actor.user_id:
            return actor.user_id
        if not actor.may(Permission.USERS_READ):
            msg = "You see your own usage only; leave `user` out."
            raise Forbidden(msg)
        if user == "all":
            return None
        row = await self._users.one(user)
        return str(row["id"])

    def _span(self, wanted: Wanted, user: str | None) -> Span:
        today = self._clock().astimezone(UTC).date()
        last = wanted.last or max(today, wanted.first or today)
        first = wanted.first or Month.of(last).first
        if last < first:
            msg = "The last day lies before the first."
            raise Invalid(msg, errors=[FieldError("to", "lies before `from`")])
        if (last - first).days >= MOST_DAYS:
            msg = f"At most {MOST_DAYS} days at once."
            raise Invalid(msg, errors=[FieldError("from", f"is more than {MOST_DAYS} days before `to`")])
        if last == date.max:
            msg = "There is no day after that."
            raise Invalid(msg, errors=[FieldError("to", "is too late")])
        return Span(first, last + timedelta(days=1), user)


def _named(by: GroupBy, group: date | str, names: dict[str, str]) -> dict[str, date | str | None]:
    if by != "key":
        return {by: group}
    return {"key_id": key_of(str(group)), "key_name": names.get(str(group))}
