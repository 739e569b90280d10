"""Dependencies of the limits. Routes are limited by naming their permission: ``permitted(Permission.X, "heavy")``."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from neurogrid.limits.rows import ROWS_KEY, Rows
from neurogrid.limits.service import LimitService


async def limit_service(request: Request) -> LimitService:
    """Return the service of this process."""
    return cast("LimitService", request.state.limits)


async def granted_rows(request: Request) -> Rows:
    """Return how many rows of the request may become tasks."""
    rows: Rows | None = request.scope.get(ROWS_KEY)
    return rows if rows is not None else Rows(None)


Limits = Annotated[LimitService, Depends(limit_service)]
GrantedRows = Annotated[Rows, Depends(granted_rows)]
