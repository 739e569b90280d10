"""What was used on each day, what may be used in a month, and who was told how far they are.

No row refers to a user's: what was used outlives whoever used it.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from neurogrid.core.db import Base, Id, UtcDateTime


class UsageDay(Base):
    """What a user used of a model by a key on a day (UTC); columns as in ``queue.tables.UsageDelta``.

    Deltas that are not rolled up yet come on top.
    """

    __tablename__ = "usage_days"

    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    key_id: Mapped[str] = mapped_column(Id, primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    compute_us: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_usage_days_day", "day"),)


class UserQuota(Base):
    """Monthly quotas of a user in place of their tier's; null is the tier's, -1 none."""

    __tablename__ = "user_quotas"

    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    tasks: Mapped[int | None] = mapped_column(BigInteger)
    tokens: Mapped[int | None] = mapped_column(BigInteger)
    compute_seconds: Mapped[int | None] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class QuotaNotice(Base):
    """A user reached so many per cent of a quota: once a month (its first day), kind and threshold."""

    __tablename__ = "quota_notices"

    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    percent: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    used: Mapped[int] = mapped_column(BigInteger)
    quota: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
