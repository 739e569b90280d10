"""`/v1/admin/usage`, and `/v1/admin/users/{id}/quota`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from neurogrid.auth.deps import Auth, acting, permitted
from neurogrid.auth.policy import Permission
from neurogrid.auth.trail import Trail
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.limits.policy import READS
from neurogrid.usage.deps import Days, Usages
from neurogrid.usage.schemas import QuotaChange, QuotaView, TopUsers
from neurogrid.usage.service import Most

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=StrictJSONRoute, max_body_size=16 * 1024)
Acting = Annotated[Trail, Depends(acting(Permission.USERS_WRITE))]


@router.get(
    "/usage/top",
    dependencies=[Depends(permitted(Permission.USERS_READ, READS))],
    responses=problems(401, 403, 422, 429),
)
async def top_users(
    usages: Usages,
    days: Days,
    by: Annotated[Most, Query(description="What they are ordered by.")] = "tokens",
    limit: Annotated[int, Query(ge=1, le=100, description="Users to list.")] = 20,
) -> TopUsers:
    """List who used most, with what all used together."""
    return await usages.top(days, by, limit)


@router.get(
    "/users/{id}/quota",
    dependencies=[Depends(permitted(Permission.USERS_READ))],
    responses=problems(401, 403, 404, 429),
)
async def get_quota(id: str, usages: Usages) -> QuotaView:
    """Say what a user may use in a month, and how much of it is used."""
    return await usages.quota(id)


@router.put("/users/{id}/quota", responses=problems(400, 401, 403, 404, 413, 415, 422, 429, 503))
async def set_quota(id: str, body: QuotaChange, trail: Acting, auth: Auth, usages: Usages) -> QuotaView:
    """Give a user quotas of their own. It holds within seconds; with nothing set, the tier's hold again."""
    await auth.users.one(id)
    await usages.quotas.set(trail, id, body.override())
    return await usages.quota(id)
