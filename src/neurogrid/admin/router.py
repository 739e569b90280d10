"""`/v1/admin`."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import Permission
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.core.ids import new_id, now
from neurogrid.events.bus import Bus

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
    dependencies=[Depends(permitted(Permission.ANNOUNCE))],
    responses=problems(400, 401, 403, 422),
)
async def announce(body: NewAnnouncement, request: Request) -> Announcement:
    """Publish an announcement on the channel `system`. It is live only: who is not connected misses it."""
    bus = cast("Bus", request.state.bus)
    moment = now()
    announcement = Announcement(id=new_id(), at=moment, **body.model_dump())
    await bus.send(SYSTEM, orjson.dumps(announcement.model_dump(mode="json")))
    return announcement
