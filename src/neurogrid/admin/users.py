"""`/v1/admin/users`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from neurogrid.auth.deps import Auth, acting, permitted
from neurogrid.auth.policy import Permission, Proof, Role, Tier
from neurogrid.auth.trail import Trail
from neurogrid.auth.users import WantedUsers
from neurogrid.core.http import pages
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.core.ids import is_id
from neurogrid.core.prepared import Row
from neurogrid.limits.policy import READS

router = APIRouter(
    prefix="/v1/admin/users", tags=["admin"], route_class=StrictJSONRoute, max_body_size=16 * 1024
)
Acting = Annotated[Trail, Depends(acting(Permission.USERS_WRITE))]
Owning = Annotated[Trail, Depends(acting(Permission.USERS_WRITE, proof=Proof.OWNER))]
Proven = Annotated[Trail, Depends(acting(Permission.USERS_WRITE, proof=Proof.RECENT))]


class UserView(BaseModel):
    """An account."""

    id: str
    object: Literal["user"] = "user"
    email: str
    email_verified: bool
    role: Role
    tier: Tier
    created_at: datetime
    locked_at: datetime | None = Field(description="Since when nobody gets in as this user.")

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return how a user is shown."""
        same = ("id", "email", "role", "tier", "created_at")
        verified = row["email_verified_at"] is not None
        return cls(
            **{name: row[name] for name in same}, email_verified=verified, locked_at=row["disabled_at"]
        )


class UserPage(BaseModel):
    """Accounts, the newest first."""

    data: list[UserView]
    next_cursor: str | None = None


class UserChange(BaseModel):
    """What shall be different."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    tier: Tier | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.role is None and self.tier is None:
            msg = "name `role`, `tier` or both"
            raise ValueError(msg)
        return self


@router.get(
    "",
    dependencies=[Depends(permitted(Permission.USERS_READ, READS))],
    responses=problems(400, 401, 403, 422, 429),
)
async def list_users(
    auth: Auth,
    role: Annotated[Role | None, Query(description="Only users of this role.")] = None,
    tier: Annotated[Tier | None, Query(description="Only users of this tier.")] = None,
    email: Annotated[
        str | None, Query(max_length=254, pattern=r"^[^\x00]*$", description="How the address begins.")
    ] = None,
    locked: Annotated[bool | None, Query(description="Only users that are locked, or are not.")] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the last page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Users on a page.")] = 20,
) -> UserPage:
    """List the accounts of the grid, the newest first."""
    wanted = WantedUsers(role, tier, email, locked)
    rows = await auth.users.page(wanted, pages.decode(cursor, is_id), limit + 1)
    shown, after = pages.cut(rows, limit, lambda row: str(row["id"]))
    return UserPage(data=[UserView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/{id}",
    dependencies=[Depends(permitted(Permission.USERS_READ))],
    responses=problems(401, 403, 404, 429),
)
async def get_user(id: str, auth: Auth) -> UserView:
    """Return one account."""
    return UserView.of(await auth.users.one(id))


@router.patch("/{id}", responses=problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503))
async def change_user(id: str, body: UserChange, trail: Acting, auth: Auth) -> UserView:
    """Give a user another role or tier. It holds everywhere within 5 seconds, for their keys and sessions as well.

    A role takes a recent proof, and no API key gives one. The last administrator who is not locked stays one.
    """
    return UserView.of(await auth.users.change(trail, id, body.role, body.tier))


@router.post("/{id}/lock", responses=problems(401, 403, 404, 409, 429, 503))
async def lock_user(id: str, trail: Proven, auth: Auth) -> UserView:
    """Let nobody in as this user: sessions end within 5 seconds, keys do not hold, passwords are not taken.

    *Takes a recent proof of who is signed in.*
    """
    return UserView.of(await auth.users.lock(trail, id))


@router.post("/{id}/unlock", responses=problems(401, 403, 404, 429, 503))
async def unlock_user(id: str, trail: Proven, auth: Auth) -> UserView:
    """Let a user in again. Keys hold again; sessions stay ended. *Takes a recent proof of who is signed in.*"""
    return UserView.of(await auth.users.unlock(trail, id))


@router.delete("/{id}/second-factor", status_code=204, responses=problems(401, 403, 404, 409, 429, 503))
async def reset_second_factor(id: str, trail: Owning, auth: Auth) -> None:
    """Take authenticator app, passkeys and recovery codes from a user who lost them; the password is enough then.

    Make sure of who asks for it. The user is told by mail. *Takes a recent proof, and no API key.*
    """
    await auth.users.one(id)
    await auth.factors.reset(trail, id)
