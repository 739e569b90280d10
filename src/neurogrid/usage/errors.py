"""What a task is answered with for which nothing is left."""

from __future__ import annotations

from datetime import datetime

from neurogrid.core.errors import GridError
from neurogrid.usage.policy import SAID, Kind, Month


class QuotaExceeded(GridError):
    """A quota of the month is used up.

    429, as for every other limit, and not 402: nothing is for sale here, and it passes by itself. ``Retry-After`` says
    when, but that may be weeks: programs should look at the code.
    """

    code, status, title = "quota_exceeded", 429, "Monthly quota used up"

    def __init__(
        self, month: Month, kind: Kind, used: int, bound: int, now: datetime, advice: str, pending: int = 0
    ) -> None:
        """Name the quota, and when it begins anew; ``pending`` tasks were let through and are not in ``used`` yet."""
        wait = max(1, int((month.ends_at - now).total_seconds()) + 1)
        said = f"You may use {f'{bound:,}' if bound else 'no'} {SAID[kind]} in {month}"
        if bound:
            said += f" and have used {used:,}"
            said += f"; {pending:,} more are on their way" if pending else ""
        detail = f"{said}. The next month begins at {month.ends_at:%Y-%m-%dT%H:%M:%SZ}. {advice}"
        super().__init__(detail.strip(), headers={"Retry-After": str(wait)})
