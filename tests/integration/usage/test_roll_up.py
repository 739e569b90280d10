"""Days, months, quotas and who is told of them; and that it all adds up (LIM-7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from neurogrid.auth.parts import AuthParts, make_auth
from neurogrid.auth.policy import Identity, Role, Tier
from neurogrid.auth.service import AuthService
from neurogrid.auth.trail import Trail
from neurogrid.core.db import Database
from neurogrid.core.ids import new_id
from neurogrid.core.settings_limits import FreeLimits, LimitSettings
from neurogrid.queue import usage
from neurogrid.queue.tables import UsageDelta
from neurogrid.usage.errors import QuotaExceeded
from neurogrid.usage.policy import Month, Override, Used
from neurogrid.usage.quotas import KNOWN_FOR, Quotas
from neurogrid.usage.reconciliation import Reconciliation
from neurogrid.usage.rollup import RollUp
from neurogrid.usage.store import Span, UsageStore
from neurogrid.usage.tables import QuotaNotice, UsageDay
from tests.support.gateway import settings_for
from tests.support.queue import insertion
from tests.support.truth import Truth
from tests.support.usage import charged

pytestmark = pytest.mark.asyncio

LIMITS = LimitSettings(free=FreeLimits(monthly_tasks=10, monthly_tokens=1000, monthly_compute_seconds=60))
LAST = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)


class Books:
    """Accounting with a clock that moves when told."""

    def __init__(self, database: Database, auth: AuthParts) -> None:
        self.database = database
        self.auth = auth
        self.now = LAST
        self.tick = 0.0
        self.store = UsageStore(database)
        self.roll_up = self.another_roll_up()
        self.quotas = self.another_gateway()

    def another_roll_up(self) -> RollUp:
        return RollUp(
            self.database,
            self.store,
            self.auth.users,
            self.auth.mailbox,
            LIMITS,
            "http://grid",
            lambda: self.now,
        )

    def another_gateway(self) -> Quotas:
        return Quotas(self.database, self.store, LIMITS, clock=lambda: self.now, monotonic=lambda: self.tick)

    async def user(self, tier: Tier = Tier.FREE) -> Identity:
        email = f"{new_id()}@example.org"
        id = await AuthService(self.database).create_user(email, Role.USER, tier, None)
        return Identity(id, None, Role.USER, tier)

    async def use(self, user: Identity, day: date, **figures: int) -> None:
        """Have the journal charge something."""
        row = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "compute_us": 0, **figures}
        async with self.database.transaction() as transaction:
            transaction.add(UsageDelta(user_id=user.user_id, key_id=usage.NO_KEY, model="m", day=day, **row))

    async def notices(self, user: Identity) -> list[tuple[str, str, int]]:
        """Return which thresholds somebody was noted to have reached."""
        rows = await self.database.all(
            select(QuotaNotice.month, QuotaNotice.kind, QuotaNotice.percent).where(
                QuotaNotice.user_id == user.user_id
            )
        )
        return sorted((f"{row['month']:%Y-%m}", row["kind"], row["percent"]) for row in rows)

    async def mails(self) -> list[str]:
        """Return what mails are about."""
        return sorted(mail.letter.subject for mail in await self.auth.mailbox.waiting())


@pytest_asyncio.fixture
async def books(truth: Truth, database_url: str) -> AsyncIterator[Books]:
    """Accounting over both databases; what is charged here has no tasks."""
    books = Books(truth.database, make_auth(truth.database, settings_for(database_url, secret_key="x" * 40)))
    yield books
    for table in (UsageDelta, UsageDay):
        async with truth.database.transaction() as transaction:
            await transaction.execute(table.__table__.delete())  # type: ignore[attr-defined]


async def test_rolled_up_or_not_it_is_the_same(books: Books) -> None:
    """What is asked is answered alike before, while and after deltas move into the days, by two gateways at once."""
    ada = await books.user()
    for day in (1, 1, 2):
        await books.use(ada, date(2026, 11, day), requests=1, prompt_tokens=3, compute_us=1)
    all_ = Used(3, 9, 0, 3)
    assert await charged(books.database, ada.user_id) == all_
    await asyncio.gather(books.roll_up.round(), books.another_roll_up().round())
    assert await books.database.all(select(UsageDelta.id)) == []
    days = await books.store.grouped(Span(date(2026, 11, 1), date(2026, 12, 1), ada.user_id), "day", 9)
    assert days == [(date(2026, 11, 1), Used(2, 6, 0, 2)), (date(2026, 11, 2), Used(1, 3, 0, 1))]
    await books.use(ada, date(2026, 11, 1), requests=1)
    assert await charged(books.database, ada.user_id) == Used(4, 9, 0, 3)


async def test_thresholds_are_told_once_a_month(books: Books) -> None:
    """80 % and 100 % of each quota are noted and mailed once, in the month whose usage it is, and again in the next."""
    ada, november = await books.user(), date(2026, 11, 30)
    await books.use(ada, november, requests=7)
    await books.roll_up.round()
    assert await books.notices(ada) == []
    await books.use(ada, november, requests=1)
    await books.roll_up.round()
    assert await books.notices(ada) == [("2026-11", "tasks", 80)]
    await books.use(ada, november, completion_tokens=5000)
    await books.use(ada, date(2026, 12, 1), requests=9)
    books.now = LAST + timedelta(seconds=5)
    for _ in range(2):
        await books.roll_up.round()
        await books.use(ada, november, requests=1)
    assert await books.notices(ada) == [
        ("2026-11", "tasks", 80),
        ("2026-11", "tokens", 80),
        ("2026-11", "tokens", 100),
        ("2026-12", "tasks", 80),
    ]
    await books.roll_up.round()
    assert ("2026-11", "tasks", 100) in await books.notices(ada)
    assert await books.mails() == [
        "NeuroGrid: You have used 80 % of your tasks",
        "NeuroGrid: You have used 80 % of your tasks",
        "NeuroGrid: You have used your tasks of November 2026",
        "NeuroGrid: You have used your tokens of November 2026",
    ]


async def test_two_that_reach_it_together(books: Books) -> None:
    """Whoever rolls up, the threshold that only two gateways' sums reach is told, and once."""
    ada = await books.user()
    for model in range(10):
        await books.use(ada, date(2026, 11, 1 + model), requests=1)
        await asyncio.gather(books.roll_up.round(), books.another_roll_up().round())
    assert await books.notices(ada) == [("2026-11", "tasks", 80), ("2026-11", "tasks", 100)]
    assert len(await books.mails()) == 2


async def test_exactly_the_quota_is_let_through(books: Books) -> None:
    """Of 30 at once exactly 10 are let through, though nothing is written yet; other gateways learn within seconds."""
    ada = await books.user()
    outcomes = await asyncio.gather(*(books.quotas.admit(ada) for _ in range(30)), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 10
    error = next(outcome for outcome in outcomes if outcome is not None)
    assert isinstance(error, QuotaExceeded)
    assert (error.code, error.status, error.headers["Retry-After"]) == ("quota_exceeded", 429, "2")
    assert "You may use 10 tasks in November 2026 and have used 0; 10 more are on their way." in error.detail
    assert "2026-12-01T00:00:00Z" in error.detail
    await books.use(ada, LAST.date(), requests=10)
    with pytest.raises(QuotaExceeded):
        await books.another_gateway().admit(ada)


async def test_the_month_begins_anew(books: Books) -> None:
    """At midnight UTC everything is there again, at once, though what was known is fresh."""
    ada = await books.user()
    await books.use(ada, LAST.date(), requests=10)
    with pytest.raises(QuotaExceeded):
        await books.quotas.admit(ada)
    books.now = LAST + timedelta(seconds=1)
    await books.quotas.admit(ada)
    assert (await books.quotas.standing(ada.user_id, Tier.FREE)).month == Month(date(2026, 12, 1))


@pytest.mark.parametrize(
    "figures", [{"completion_tokens": 1000}, {"prompt_tokens": 1000}, {"compute_us": 60_000_000}]
)
async def test_tokens_and_compute(books: Books, figures: dict[str, int]) -> None:
    """At the bound nothing more is let through, one below it is; a run of another task (0) is refused as well."""
    ada, (name, amount) = await books.user(), next(iter(figures.items()))
    await books.use(ada, LAST.date(), **{name: amount - 1})
    await books.quotas.admit(ada)
    await books.use(ada, LAST.date(), **{name: 1})
    await books.quotas.admit(ada)  # not known yet
    books.tick += KNOWN_FOR + 0.1
    for tasks in (0, 1):
        with pytest.raises(QuotaExceeded):
            await books.quotas.admit(ada, tasks)


async def test_own_quotas(books: Books) -> None:
    """An administrator's figure stands in place of the tier's, also none at all, until it is taken back."""
    ada, pro = await books.user(), await books.user(Tier.UNLIMITED)
    trail = Trail(books.auth.audit)
    await books.quotas.set(trail, ada.user_id, Override(tasks=-1))
    await books.quotas.admit(ada, 1000)
    await books.quotas.set(trail, ada.user_id, Override(tasks=2, tokens=5))
    standing = await books.quotas.standing(ada.user_id, Tier.FREE)
    assert (standing.quota.tasks, standing.quota.tokens, standing.quota.compute_seconds) == (2, 5, 60)
    await books.quotas.admit(ada, 2)
    with pytest.raises(QuotaExceeded):
        await books.quotas.admit(ada)
    await books.quotas.set(trail, ada.user_id, None)
    await books.quotas.admit(ada, 10)
    await books.quotas.admit(pro, 10**6)
    await books.quotas.set(trail, pro.user_id, Override(tasks=0))
    await books.use(pro, LAST.date(), requests=23)
    with pytest.raises(QuotaExceeded, match=r"^You may use no tasks in November 2026\. The next"):
        await books.quotas.admit(pro)


async def test_a_database_that_is_away_costs_nobody_what_is_known(books: Books) -> None:
    """What was known holds for a while longer; who is not known yet is not let through."""
    ada, eve = await books.user(), await books.user()
    await books.quotas.admit(ada)
    books.tick += KNOWN_FOR + 1

    async def away(*_: Any) -> Used:
        raise OperationalError("", None, TimeoutError())

    books.store.month = away  # type: ignore[method-assign,assignment]
    await books.quotas.admit(ada)
    with pytest.raises(OperationalError):
        await books.quotas.admit(eve)


async def test_drift_is_found_and_mended(truth: Truth) -> None:
    """A day, a delta and a task that say something else are found, each with both figures, and mended once."""
    owner = new_id()
    ops = [insertion(owner=owner) for _ in range(3)]
    await truth.do(*ops)
    reconciliation = Reconciliation(truth.database)
    assert await reconciliation.drift() == []
    await truth.change(update(UsageDelta).values(requests=5))
    await truth.alter(ops[0].id, finished_at=datetime(2026, 1, 31, 23, tzinfo=UTC), completion_tokens=4)
    january, today = await reconciliation.drift()
    assert (january.day, january.charged, january.owed) == (date(2026, 1, 31), Used(), Used(0, 0, 4))
    assert (today.charged, today.owed) == (Used(5), Used(3))
    assert await reconciliation.drift(date(2026, 2, 1)) == [today]
    assert await reconciliation.drift(None, date(2026, 2, 1)) == [january]
    found = await asyncio.gather(reconciliation.mend(), reconciliation.mend())
    assert sorted(map(len, found)) == [0, 2]
    assert await charged(truth.database) == Used(3, 0, 4)
