"""Moves what the journal charged into the days, and tells users how far they are, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, Final

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.mails import Mailbox
from neurogrid.auth.policy import Tier
from neurogrid.auth.users import Users
from neurogrid.core.db import Database
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row
from neurogrid.core.settings_limits import LimitSettings
from neurogrid.queue.tables import UsageDelta
from neurogrid.usage import letters
from neurogrid.usage.policy import Kind, Month, Quota, Used, quota_of
from neurogrid.usage.store import FIGURES, PLACE, UsageStore, month_of_users
from neurogrid.usage.tables import QuotaNotice, UsageDay

AT_ONCE: Final = 2000
"""Deltas of one transaction."""

TURN: Final = 0x75736167
"""Names the advisory lock."""

Place = tuple[str, date, str, str]

log = structlog.get_logger(__name__)


async def take_turn(transaction: AsyncSession, *, wait: bool, sqlite: bool) -> bool:
    """Let nobody else move usage until the transaction ends; ``False`` if somebody does and there is no ``wait``."""
    if sqlite:  # whose writers take turns by themselves
        return True
    lock = func.pg_advisory_xact_lock if wait else func.pg_try_advisory_xact_lock
    return await transaction.scalar(select(lock(TURN))) is not False


class RollUp:
    """Any gateway may do it, one at a time: whoever adds the last of two sums must see both to know what is reached."""

    def __init__(
        self,
        database: Database,
        store: UsageStore,
        users: Users,
        mailbox: Mailbox,
        settings: LimitSettings,
        public_url: str,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Roll up in ``database``; write mails into ``mailbox``."""
        self._database = database
        self._store = store
        self._users = users
        self._mailbox = mailbox
        self._settings = settings
        self._url = public_url
        self._clock = clock

    async def round(self) -> None:
        """Roll up all there is by now."""
        while await self._some() == AT_ONCE:
            pass

    async def _some(self) -> int:
        """Roll up the oldest deltas; return how many."""
        if await self._database.first(select(UsageDelta.id).limit(1)) is None:
            return 0
        async with self._database.transaction() as transaction:
            if not await take_turn(transaction, wait=False, sqlite=self._database.sqlite):
                return 0  # another gateway does it
            rows = (await transaction.execute(_OLDEST)).all()
            sums: defaultdict[Place, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
            for row in rows:
                total = sums[row.user_id, row.day, row.key_id, row.model]
                for i, name in enumerate(FIGURES):
                    total[i] += getattr(row, name)
            await self._add(transaction, sums)
            await transaction.execute(delete(UsageDelta).where(UsageDelta.id.in_([row.id for row in rows])))
            touched: defaultdict[Month, set[str]] = defaultdict(set)
            for user, day, _, _ in sums:
                touched[Month.of(day)].add(user)
            for month, users in sorted(touched.items()):
                await self._tell(transaction, month, sorted(users))
        return len(rows)

    async def _add(self, transaction: AsyncSession, sums: dict[Place, list[int]]) -> None:
        """Add to the days, in the order of their keys (R11)."""
        if not sums:
            return
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        statement = insert(UsageDay)
        added: dict[str, Any] = {
            name: getattr(UsageDay, name) + getattr(statement.excluded, name) for name in FIGURES
        }
        await transaction.execute(
            statement.on_conflict_do_update(
                index_elements=[getattr(UsageDay, name) for name in PLACE], set_=added
            ),
            [
                dict(zip((*PLACE, *FIGURES), (*place, *figures), strict=True))
                for place, figures in sorted(sums.items())
            ],
        )

    async def _tell(self, transaction: AsyncSession, month: Month, ids: Sequence[str]) -> None:
        """Note which thresholds users have reached, each once a month, and mail them about the highest."""
        contacts = {row["id"]: row for row in await self._users.several(transaction, ids)}
        own = await self._store.overrides(transaction, list(contacts))
        bounded = {
            id: quota
            for id, row in contacts.items()
            if any((quota := quota_of(self._settings, Tier(row["tier"]), own.get(id))).bounds())
        }
        if not bounded:
            return
        used = await month_of_users(transaction, sorted(bounded), month)
        for id, quota in sorted(bounded.items()):
            amounts = used.get(id, Used())
            for kind in Kind:
                await self._note(transaction, month, contacts[id], kind, quota, amounts)

    async def _note(
        self, transaction: AsyncSession, month: Month, user: Row, kind: Kind, quota: Quota, used: Used
    ) -> None:
        bound = quota.of(kind)
        reached = [percent for each, percent in quota.reached(used) if each is kind]
        if bound is None or not reached:
            return
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        rows = [
            {
                "user_id": user["id"], "month": month.first, "kind": kind.value, "percent": percent,
                "used": used.of(kind), "quota": bound, "at": self._clock(),
            }
            for percent in reached
        ]  # fmt: skip
        noted = await transaction.execute(
            insert(QuotaNotice).values(rows).on_conflict_do_nothing().returning(QuotaNotice.percent)
        )
        fresh = list(noted.scalars())
        if not fresh:
            return
        highest = max(fresh)
        log.info("quota.reached", user=user["id"], month=str(month), kind=kind.value, percent=highest)
        letter = letters.quota(month, kind, highest, used.of(kind), bound, self._settings.upgrade, self._url)
        await self._mailbox.write(transaction, user["email"], letter)


_OLDEST = (
    select(UsageDelta.id, *(getattr(UsageDelta, name) for name in (*PLACE, *FIGURES)))
    .order_by(UsageDelta.id)
    .limit(AT_ONCE)
)
