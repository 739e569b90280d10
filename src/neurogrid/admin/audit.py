"""`/v1/admin/audit`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from neurogrid.auth.audit import Wanted
from neurogrid.auth.deps import Auth, permitted
from neurogrid.auth.policy import Permission
from neurogrid.core.http import pages
from neurogrid.core.http.moments import Moment
from neurogrid.core.http.openapi import problems
from neurogrid.core.prepared import Row
from neurogrid.limits.policy import READS

router = APIRouter(prefix="/v1/admin/audit", tags=["admin"])
_DIGITS = 18
_TEXT = r"^[^\x00]*$"


class AuditEntryView(BaseModel):
    """An act that matters for security."""

    seq: int = Field(description="Counts without a gap.")
    at: datetime
    actor: str | None = Field(description="The id of the user who did it; null if that is not known.")
    via: str | None = Field(
        description="What they came by: `key <id>`, `session <id>`, or `server` for a command there."
    )
    action: str = Field(examples=["key.created"])
    target: str | None = Field(description="The id of what it was done to.")
    address: str | None
    details: dict[str, Any]
    previous: str = Field(description="The hash of the entry before.")
    hash: str = Field(description="SHA-256 over all the rest.")

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return how an entry is shown."""
        return cls(**{**row, "details": orjson.loads(row["details"])})


class AuditPage(BaseModel):
    """Entries, the newest first."""

    data: list[AuditEntryView]
    next_cursor: str | None = None


@router.get(
    "",
    dependencies=[Depends(permitted(Permission.AUDIT_READ, READS))],
    responses=problems(400, 401, 403, 422, 429),
)
async def list_entries(
    auth: Auth,
    actor: Annotated[
        str | None, Query(max_length=200, pattern=_TEXT, description="Only acts of this user.")
    ] = None,
    action: Annotated[
        str | None, Query(max_length=200, pattern=_TEXT, description="Only these acts, such as `key.*`.")
    ] = None,
    target: Annotated[
        str | None, Query(max_length=200, pattern=_TEXT, description="Only what was done to this, by id.")
    ] = None,
    since: Annotated[Moment | None, Query(description="At or after this.")] = None,
    until: Annotated[Moment | None, Query(description="Before this.")] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the last page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Entries on a page.")] = 50,
) -> AuditPage:
    """List what was done that matters for security, the newest first. `neurogrid audit verify` checks the chain."""
    before = pages.decode(cursor, _is_number)
    wanted = Wanted(actor, action, target, since, until)
    rows = await auth.audit.page(wanted, int(before) if before else None, limit + 1)
    shown, after = pages.cut(rows, limit, lambda row: str(row["seq"]))
    return AuditPage(data=[AuditEntryView.of(row) for row in shown], next_cursor=after)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
