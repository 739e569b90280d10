"""What accounting is made of, put together once for a gateway."""

from __future__ import annotations

from dataclasses import dataclass

from neurogrid.auth.parts import AuthParts
from neurogrid.core.db import Database
from neurogrid.core.settings import Settings
from neurogrid.usage.quotas import Quotas
from neurogrid.usage.rollup import RollUp
from neurogrid.usage.service import UsageService
from neurogrid.usage.store import UsageStore


@dataclass(frozen=True, slots=True)
class UsageParts:
    """The services of this feature in one process."""

    service: UsageService
    quotas: Quotas
    roll_up: RollUp


def make_usage(database: Database, auth: AuthParts, settings: Settings) -> UsageParts:
    """Put the parts together; nothing is opened."""
    store = UsageStore(database)
    quotas = Quotas(database, store, settings.limits)
    roll_up = RollUp(
        database, store, auth.users, auth.mailbox, settings.limits, settings.effective_public_url
    )
    return UsageParts(UsageService(store, quotas, auth.users, auth.keys), quotas, roll_up)
