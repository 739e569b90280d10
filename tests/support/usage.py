"""What was charged, as tests look at it."""

from __future__ import annotations

from datetime import date, timedelta

from neurogrid.core.db import Database
from neurogrid.usage.policy import Used
from neurogrid.usage.reconciliation import Reconciliation
from neurogrid.usage.store import Span, UsageStore

EVER = Span(date(1970, 1, 1), date.max - timedelta(days=1))


async def charged(database: Database, user: str | None = None) -> Used:
    """Return all that was ever charged, to ``user`` if given."""
    return await UsageStore(database).total(Span(EVER.first, EVER.end, user))


async def adds_up(database: Database) -> None:
    """Fail unless what was charged is what the tasks say, to the last token."""
    assert await Reconciliation(database).drift() == []
