"""`/v1/usage`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from neurogrid.core.http.openapi import problems
from neurogrid.usage.deps import Reader, Usages, WantedUsage
from neurogrid.usage.schemas import MonthView, Usage
from neurogrid.usage.service import GroupBy

router = APIRouter(prefix="/v1/usage", tags=["usage"])
CSV = "text/csv; charset=utf-8"


@router.get("", responses=problems(401, 403, 404, 422, 429))
async def get_usage(
    actor: Reader,
    usages: Usages,
    wanted: WantedUsage,
    group_by: Annotated[GroupBy, Query(description="What each row is.")] = "day",
) -> Usage:
    """Say what you used: tasks accepted, tokens, and seconds of compute, by day, model or key.

    A task counts as a request on the day it was accepted; what it used belongs to the day on which it ended. Only the
    last attempt is charged; a task that was cancelled while it ran is charged what had come by then; tasks that share
    the execution of an identical one are charged nothing but the request.
    """
    return await usages.usage(actor, wanted, group_by)


@router.get("/month", responses=problems(401, 403, 429))
async def get_month(actor: Reader, usages: Usages) -> MonthView:
    """Say how much of your quotas of the current month is used, and when the next one begins."""
    return await usages.month(actor)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The table."},
        **problems(401, 403, 404, 422, 429),
    },
)
async def export_usage(actor: Reader, usages: Usages, wanted: WantedUsage) -> StreamingResponse:
    """Return what you used as CSV, by day, key and model.

    Names that a spreadsheet would take for a formula are preceded by an apostrophe.
    """
    table = await usages.table(actor, wanted)
    return StreamingResponse(
        table, media_type=CSV, headers={"Content-Disposition": 'attachment; filename="usage.csv"'}
    )
