"""Dependencies of the limits. Routes are limited by naming their permission: ``permitted(Permission.X, "heavy")``."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from neurogrid.limits.rows import GRANT_KEY, ROWS_KEY, Grant, Rows
from neurogrid.limits.service import LimitService


async def limit_service(request: Request) -> LimitService:
    """Return the service of this process."""
    return cast("LimitService", request.state.limits)


async def granted_rows(request: Request) -> Rows:
    """Return how many rows of the request may become tasks."""
    rows: Rows | None = request.scope.get(ROWS_KEY)
    return rows if rows is not None else Rows(None)


async def later_rows(request: Request) -> Grant:
    """Return what grants the rows of a request of the class ``limits.policy.LATER``."""
    grant: Grant | None = request.scope.get(GRANT_KEY)
    return grant if grant is not None else _unlimited


async def _unlimited(_: int) -> Rows:
    return Rows(None)


Limits = Annotated[LimitService, Depends(limit_service)]
GrantedRows = Annotated[Rows, Depends(granted_rows)]
LaterRows = Annotated[Grant, Depends(later_rows)]
