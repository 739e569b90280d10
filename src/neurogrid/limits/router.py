"""`/v1/monitoring/stats/rate-limits`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import Permission
from neurogrid.core.http.openapi import problems
from neurogrid.limits.deps import Limits
from neurogrid.limits.policy import READS
from neurogrid.limits.schemas import LimitStatistics

router = APIRouter(prefix="/v1/monitoring", tags=["monitoring"])


@router.get(
    "/stats/rate-limits",
    dependencies=[Depends(permitted(Permission.MONITORING_READ, READS))],
    responses=problems(401, 403, 422, 429),
)
async def rate_limit_statistics(
    limits: Limits,
    top: Annotated[int, Query(ge=1, le=100, description="Callers and paths to list.")] = 20,
) -> LimitStatistics:
    """Say who was limited, where, and how often, over all gateways that live, as each has seen it since it began."""
    return limits.overview(top)
