"""Months, quotas, and cells of a table."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from neurogrid.auth.policy import Tier
from neurogrid.core.settings_limits import FreeLimits, LimitSettings
from neurogrid.queue.usage import microseconds
from neurogrid.usage.export import safe
from neurogrid.usage.policy import Kind, Month, Override, Quota, Used, quota_of


def test_formulas_are_text() -> None:
    """Whatever a spreadsheet would calculate is shown as it is; names are not touched."""
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1"):
        assert safe(text) == f"'{text}"
    for text in ("smollm2-135m", "my key", "", "a=b"):
        assert safe(text) == text


@pytest.mark.parametrize(
    ("day", "first", "next_"),
    [
        (date(2026, 1, 31), date(2026, 1, 1), date(2026, 2, 1)),
        (date(2028, 2, 29), date(2028, 2, 1), date(2028, 3, 1)),
        (date(2026, 12, 1), date(2026, 12, 1), date(2027, 1, 1)),
        # A new year in Kiritimati is the last day of the old one in UTC.
        (
            datetime(2027, 1, 1, 13, 59, tzinfo=timezone(timedelta(hours=14))),
            date(2026, 12, 1),
            date(2027, 1, 1),
        ),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), date(2026, 12, 1), date(2027, 1, 1)),
    ],
    ids=str,
)
def test_months(day: date, first: date, next_: date) -> None:
    """A month begins on its first day in UTC and ends where the next one begins."""
    month = Month.of(day)
    assert (month.first, month.next.first, month.ends_at) == (
        first,
        next_,
        datetime(next_.year, next_.month, 1, tzinfo=UTC),
    )


def test_whose_quota_holds() -> None:
    """Of a tier 0 is no quota; an override stands in its place, of which -1 is none; without limits nobody has any."""
    settings = LimitSettings(free=FreeLimits(monthly_tasks=5, monthly_tokens=0, monthly_compute_seconds=9))
    assert quota_of(settings, Tier.FREE, None) == Quota(5, None, 9)
    assert quota_of(settings, Tier.FREE, Override(-1, 7)) == Quota(None, 7, 9)
    assert quota_of(settings, Tier.UNLIMITED, None) == Quota()
    assert quota_of(settings, Tier.UNLIMITED, Override(1)) == Quota(1)
    assert quota_of(LimitSettings(enabled=False), Tier.FREE, Override(1)) == Quota()


def test_used_up_and_reached() -> None:
    """The last task that fits is let through; 80 and 100 % are reached exactly there, and a quota of nothing at once."""
    quota = Quota(tasks=10, tokens=100)
    assert quota.used_up(Used(9), 1) is None
    assert quota.used_up(Used(9), 2) is Kind.TASKS
    assert quota.used_up(Used(0, 99), 1) is None
    assert quota.used_up(Used(0, 50, 50), 1) is Kind.TOKENS
    assert list(quota.reached(Used(7, 79))) == []
    assert list(quota.reached(Used(8, 100))) == [(Kind.TASKS, 80), (Kind.TOKENS, 80), (Kind.TOKENS, 100)]
    assert list(Quota(compute_seconds=0).reached(Used())) == [
        (Kind.COMPUTE_SECONDS, 80),
        (Kind.COMPUTE_SECONDS, 100),
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, 0), (0.0000005, 1), (0.0000004, 0), (1.25, 1_250_000)]
)
def test_microseconds(seconds: float, expected: int) -> None:
    """Halves are rounded up, as both databases are told to."""
    assert microseconds(seconds) == expected
