"""`/v1/keys`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.deps import Auth, permitted, trail_of
from neurogrid.auth.keys import UNLIMITED, WantedKey
from neurogrid.auth.policy import Identity, Permission, Proof
from neurogrid.core import networks
from neurogrid.core.http import pages
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.core.ids import is_id
from neurogrid.idempotency.deps import Once, once
from neurogrid.keys.schemas import FreshKey, KeyChange, KeyPage, KeyView, NewKey, Rotation
from neurogrid.limits.policy import KEYS, READS

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=StrictJSONRoute, max_body_size=16 * 1024)

OnceSecret = Annotated[Once, Depends(once(Permission.KEYS_WRITE, KEYS, secret=True, proof=Proof.RECENT))]
Reader = Annotated[Identity, Depends(permitted(Permission.KEYS_READ))]
Lister = Annotated[Identity, Depends(permitted(Permission.KEYS_READ, READS))]
Writer = Annotated[Identity, Depends(permitted(Permission.KEYS_WRITE))]


@router.post(
    "",
    status_code=201,
    response_model=FreshKey,
    responses=problems(400, 401, 403, 409, 413, 415, 422, 429, 503),
)
async def create_key(body: NewKey, request: Request, once: OnceSecret, auth: Auth) -> Response:
    """Make an API key. It is shown this once.

    It can do no more than you: made by another key, it has no more permissions, networks and time than that. A request
    repeated with its `Idempotency-Key` and the same credential gets the same key.
    """
    places = None if body.allowed_networks is None else networks.of(body.allowed_networks)
    scopes = None if body.scopes is None else frozenset(body.scopes)
    trail = trail_of(request, once.actor)

    async def make(transaction: AsyncSession) -> FreshKey:
        limits = body.limits.wanted if body.limits is not None else UNLIMITED
        wanted = WantedKey(body.name, scopes, places, body.end, limits)
        text, row = await auth.keys.create(transaction, trail, once.actor, wanted)
        return FreshKey.made(row, text)

    return await once(body, make, location=lambda made: f"/v1/keys/{made.id}")


@router.get("", responses=problems(400, 401, 403, 422, 429))
async def list_keys(
    actor: Lister,
    auth: Auth,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the last page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Keys on a page.")] = 20,
) -> KeyPage:
    """List your keys, the newest first, without their secrets; also those that no longer hold."""
    rows = await auth.keys.page(actor.user_id, pages.decode(cursor, is_id), limit + 1)
    shown, after = pages.cut(rows, limit, lambda row: str(row["id"]))
    return KeyPage(data=[KeyView.of(row) for row in shown], next_cursor=after)


@router.get("/{id}", responses=problems(401, 403, 404, 429))
async def get_key(id: str, actor: Reader, auth: Auth) -> KeyView:
    """Return one key of yours, without its secret."""
    return KeyView.of(await auth.keys.one(actor.user_id, id))


@router.patch("/{id}", responses=problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503))
async def change_key(id: str, body: KeyChange, request: Request, actor: Writer, auth: Auth) -> KeyView:
    """Give a key other limits of its own. They hold everywhere within 5 seconds.

    A key never has more than the key that made it, and what it made never more than it. By an API key, no key is
    changed that has more rights, networks or limits than that one. *More takes a recent proof of who is signed in.*
    """
    wanted = body.limits.wanted
    widens = await auth.keys.widens(actor.user_id, id, wanted)
    if widens:
        await auth.step_up.require(actor, Proof.RECENT)
    trail = trail_of(request, actor)
    return KeyView.of(await auth.keys.limit(trail, actor, id, wanted, may_widen=widens))


@router.post(
    "/{id}/rotate",
    status_code=201,
    response_model=FreshKey,
    responses=problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
async def rotate_key(
    id: str, request: Request, once: OnceSecret, auth: Auth, body: Rotation | None = None
) -> Response:
    """Exchange a key for a new one that may do the same. The old one goes on for a while, so that nothing stops."""
    wanted = body or Rotation()
    trail = trail_of(request, once.actor)

    async def make(transaction: AsyncSession) -> FreshKey:
        text, row = await auth.keys.rotate(
            transaction, trail, once.actor, id, overlap=wanted.overlap_s, expires_at=wanted.end
        )
        return FreshKey.made(row, text)

    answer = await once(wanted, make, location=lambda made: f"/v1/keys/{made.id}")
    auth.keys.forget()
    return answer


@router.delete("/{id}", status_code=204, responses=problems(401, 403, 404, 429, 503))
async def revoke_key(id: str, request: Request, actor: Writer, auth: Auth) -> None:
    """Revoke a key and all keys that it made, and those made. They end everywhere within 5 seconds.

    The key that it was exchanged for holds on.
    """
    await auth.keys.revoke(trail_of(request, actor), actor.user_id, id)
