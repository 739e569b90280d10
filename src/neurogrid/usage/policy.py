"""What a month is, what a quota grants, and when somebody has to be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from neurogrid.auth.policy import Tier
from neurogrid.core.settings_limits import LimitSettings, TierLimits

NONE: Final = -1
"""Stands for no quota in what an administrator sets."""
THRESHOLDS: Final = (80, 100)
"""Per cent of a quota at which its user is told."""
MICRO: Final = 1_000_000


class Kind(StrEnum):
    """What a quota is of."""

    TASKS = "tasks"
    TOKENS = "tokens"
    COMPUTE_SECONDS = "compute_seconds"


SAID: Final = {
    Kind.TASKS: "tasks",
    Kind.TOKENS: "tokens",
    Kind.COMPUTE_SECONDS: "seconds of compute",
}


@dataclass(frozen=True, slots=True)
class Used:
    """What was used: ``requests`` are tasks accepted, ``compute_us`` microseconds."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    compute_us: int = 0

    def of(self, kind: Kind) -> int:
        """Return how much counts against the quota of a kind, in whole units."""
        if kind is Kind.TASKS:
            return self.requests
        if kind is Kind.TOKENS:
            return self.prompt_tokens + self.completion_tokens
        return self.compute_us // MICRO


@dataclass(frozen=True, slots=True)
class Quota:
    """What may be used in a month; ``None`` is no bound."""

    tasks: int | None = None
    tokens: int | None = None
    compute_seconds: int | None = None

    def of(self, kind: Kind) -> int | None:
        """Return the bound of one kind."""
        bound: int | None = getattr(self, kind.value)
        return bound

    def bounds(self) -> Iterator[tuple[Kind, int]]:
        """Yield what there are bounds of."""
        for kind in Kind:
            bound = self.of(kind)
            if bound is not None:
                yield kind, bound

    def used_up(self, used: Used, tasks: int = 0) -> Kind | None:
        """Return the first quota that leaves no room for ``tasks`` more: of tokens and compute, one already reached."""
        for kind, bound in self.bounds():
            amount = used.of(kind)
            if amount + tasks > bound if kind is Kind.TASKS else amount >= bound:
                return kind
        return None

    def reached(self, used: Used) -> Iterator[tuple[Kind, int]]:
        """Yield each threshold, in per cent, that is reached of each quota."""
        for kind, bound in self.bounds():
            for percent in THRESHOLDS:
                if used.of(kind) * 100 >= bound * percent:
                    yield kind, percent


@dataclass(frozen=True, slots=True)
class Override:
    """What an administrator set for a user: ``None`` leaves the tier's, ``NONE`` is no bound."""

    tasks: int | None = None
    tokens: int | None = None
    compute_seconds: int | None = None

    def over(self, quota: Quota) -> Quota:
        """Return ``quota`` with what is set in its place."""
        return Quota(
            _chosen(self.tasks, quota.tasks),
            _chosen(self.tokens, quota.tokens),
            _chosen(self.compute_seconds, quota.compute_seconds),
        )


def _chosen(own: int | None, usual: int | None) -> int | None:
    if own is None:
        return usual
    return None if own == NONE else own


def quota_of(settings: LimitSettings, tier: Tier, own: Override | None) -> Quota:
    """Return what a user of ``tier`` may use in a month."""
    if not settings.enabled:
        return Quota()
    usual = Quota()
    if tier is not Tier.UNLIMITED:
        limits: TierLimits = getattr(settings, tier.value)
        figures = (limits.monthly_tasks, limits.monthly_tokens, limits.monthly_compute_seconds)
        usual = Quota(*(figure or None for figure in figures))
    return own.over(usual) if own is not None else usual


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month in UTC, by its first day."""

    first: date

    @classmethod
    def of(cls, day: date | datetime) -> Month:
        """Return the month of a day, or of a moment."""
        if isinstance(day, datetime):
            day = day.astimezone(UTC).date()
        return cls(day.replace(day=1))

    @property
    def next(self) -> Month:
        """The month after."""
        return Month((self.first + timedelta(days=31)).replace(day=1))

    @property
    def ends_at(self) -> datetime:
        """The moment at which the next one begins."""
        return datetime.combine(self.next.first, datetime.min.time(), UTC)

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.first:%B %Y}"
