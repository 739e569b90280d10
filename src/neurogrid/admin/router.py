"""`/v1/admin`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, cast

import orjson
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from neurogrid.auth.deps import trail_of
from neurogrid.auth.policy import Permission
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.core.ids import new_id, now
from neurogrid.events.bus import Bus
from neurogrid.idempotency.deps import Once, once

SYSTEM = "system"

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=StrictJSONRoute)


class NewAnnouncement(BaseModel):
    """Something everybody who is connected shall read."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(min_length=1, max_length=2000, examples=["Maintenance at 22:00 UTC."])
    level: str = Field("info", pattern="^(info|warning|critical)$")


class Announcement(NewAnnouncement):
    """A published announcement."""

    id: str
    type: str = "system.announcement"
    at: datetime


@router.post(
    "/announcements",
    status_code=201,
    response_model=Announcement,
    responses=problems(400, 401, 403, 409, 422),
)
async def announce(
    body: NewAnnouncement, request: Request, once: Annotated[Once, Depends(once(Permission.ANNOUNCE))]
) -> Response:
    """Publish an announcement on the channel `system`. It is live only: who is not connected misses it."""
    bus = cast("Bus", request.state.bus)

    async def publish(transaction: AsyncSession) -> Announcement:
        # Before the commit: cut off between the two, it is heard once more rather than never.
        announcement = Announcement(id=new_id(), at=now(), **body.model_dump())
        await bus.send(SYSTEM, orjson.dumps(announcement.model_dump(mode="json")))
        note = trail_of(request, once.actor).of("announcement.published", announcement.id, level=body.level)
        await note(transaction)
        return announcement

    return await once(body, publish)
