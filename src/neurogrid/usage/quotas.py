"""Monthly quotas: asked at every submission, which costs a look into memory, and set by administrators (LIM-7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from neurogrid.auth.policy import Identity, Tier
from neurogrid.auth.trail import Trail
from neurogrid.core.db import Database, is_away
from neurogrid.core.ids import now
from neurogrid.core.settings_limits import LimitSettings
from neurogrid.usage.errors import QuotaExceeded
from neurogrid.usage.policy import Kind, Month, Override, Quota, Used, quota_of
from neurogrid.usage.store import UsageStore

KNOWN_FOR: Final = 2.0
"""Seconds for which what a user has used is taken as known."""
KNOWN_USERS: Final = 10_000


@dataclass(slots=True)
class _Known:
    month: Month | None = None
    used: Used = field(default_factory=Used)
    own: Override | None = None
    accepted: int = 0
    """Tasks let through here since it was looked up."""
    looked_at: float = float("-inf")
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of the month's quotas a user has used."""

    month: Month
    used: Used
    quota: Quota
    own: Override | None


class Quotas:
    """Lets tasks through while there is something left.

    What was used is looked up at most every ``KNOWN_FOR`` seconds for each user, and tasks that are let through are
    counted here in between. So a user can pass the quota of tasks by what other gateways let through within these
    seconds, and those of tokens and compute by what the tasks use that are unfinished when they are reached.
    """

    def __init__(
        self,
        database: Database,
        store: UsageStore,
        settings: LimitSettings,
        *,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look up in ``store``; ``clock`` says which month it is."""
        self._database = database
        self._store = store
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}

    async def admit(self, actor: Identity, tasks: int = 1) -> None:
        """Let ``tasks`` through. Raises ``QuotaExceeded``."""
        if not self._settings.enabled:
            return
        moment = self._clock()
        month = Month.of(moment)
        known = await self._look(actor.user_id, month)
        quota = quota_of(self._settings, actor.tier, known.own)
        kind = quota.used_up(known.used, known.accepted + tasks)
        if kind is not None:
            advice = self._settings.upgrade if actor.tier is Tier.FREE else ""
            bound = quota.of(kind) or 0
            pending = known.accepted if kind is Kind.TASKS else 0
            raise QuotaExceeded(month, kind, known.used.of(kind), bound, moment, advice, pending)
        known.accepted += tasks

    async def _look(self, user: str, month: Month) -> _Known:
        known = self._known.get(user)
        if known is None:
            if len(self._known) >= KNOWN_USERS:
                self._known.clear()
            known = self._known[user] = _Known()
        if self._is_stale(known, month):
            async with known.looking:  # one query for all who submit in this moment
                if self._is_stale(known, month):
                    await self._refresh(user, known, month)
        return known

    def _is_stale(self, known: _Known, month: Month) -> bool:
        return known.month != month or self._monotonic() - known.looked_at > KNOWN_FOR

    async def _refresh(self, user: str, known: _Known, month: Month) -> None:
        try:
            own, used = await self._read(user, month)
        except Exception as error:
            if known.month != month or not is_away(error):
                raise
            known.looked_at = self._monotonic()  # then nothing is written either
            return
        known.own, known.used, known.month = own, used, month
        known.accepted, known.looked_at = 0, self._monotonic()

    async def standing(self, user: str, tier: Tier) -> Standing:
        """Return where a user stands this month, as of now."""
        month = Month.of(self._clock())
        own, used = await self._read(user, month)
        return Standing(month, used, quota_of(self._settings, tier, own), own)

    async def _read(self, user: str, month: Month) -> tuple[Override | None, Used]:
        return await asyncio.gather(self._store.override(user), self._store.month(user, month))

    async def set(self, trail: Trail, user: str, own: Override | None) -> None:
        """Set what a user has in place of the tier's quotas, or (``None``) nothing; it holds within seconds."""
        async with self._database.transaction() as transaction:
            if own is None:
                if await self._store.drop_override(transaction, user):
                    await trail.of("quota.reset", user)(transaction)
            else:
                await self._store.set_override(transaction, user, own, self._clock())
                details = {
                    "tasks": own.tasks, "tokens": own.tokens, "compute_seconds": own.compute_seconds
                }  # fmt: skip
                await trail.of("quota.set", user, **details)(transaction)
        self._known.pop(user, None)
