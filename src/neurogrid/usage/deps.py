"""Dependencies of the usage routes."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Query
from starlette.requests import Request

from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import Identity, Permission
from neurogrid.core.http.moments import Day
from neurogrid.limits.policy import READS
from neurogrid.usage.service import UsageService, Wanted

ID_OR_ALL = r"^(all|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"


async def usage_service(request: Request) -> UsageService:
    """Return the service of this process."""
    return cast("UsageService", request.state.usage)


async def days(
    first: Annotated[
        Day | None, Query(alias="from", description="First day (UTC); the first of the month if left out.")
    ] = None,
    last: Annotated[
        Day | None, Query(alias="to", description="Last day, included; today if left out.")
    ] = None,
) -> Wanted:
    """Return the days asked for."""
    return Wanted(first, last)


async def wanted(
    days: Annotated[Wanted, Depends(days)],
    user: Annotated[
        str | None,
        Query(pattern=ID_OR_ALL, description="For administrators: another user's id, or `all`."),
    ] = None,
) -> Wanted:
    """Return the days asked for, and whose."""
    return Wanted(days.first, days.last, user)


Usages = Annotated[UsageService, Depends(usage_service)]
Days = Annotated[Wanted, Depends(days)]
WantedUsage = Annotated[Wanted, Depends(wanted)]
Reader = Annotated[Identity, Depends(permitted(Permission.USAGE_READ, READS))]
