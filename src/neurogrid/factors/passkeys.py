"""`/v1/auth/passkeys`."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from neurogrid.auth.answers import TOKENS, signed_in
from neurogrid.auth.deps import (
    AccountOwner,
    AccountReader,
    AccountWriter,
    Auth,
    From,
    limits_of,
    open_to_all,
    trail_of,
)
from neurogrid.auth.schemas import CookieAnswer, TokenAnswer
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.factors.router import MAX_BODY, NO_STORE
from neurogrid.factors.schemas import (
    FreshPasskey,
    NewPasskey,
    Options,
    PasskeyList,
    PasskeyName,
    PasskeySignIn,
    PasskeyView,
)

router = APIRouter(
    prefix="/v1/auth/passkeys", tags=["account"], route_class=StrictJSONRoute, max_body_size=MAX_BODY
)


@router.get("", responses=problems(401, 403))
async def list_passkeys(actor: AccountReader, auth: Auth) -> PasskeyList:
    """List your passkeys, the oldest first."""
    return PasskeyList(data=[PasskeyView.of(row) for row in await auth.passkeys.of(actor.user_id)])


@router.post("/options", responses=problems(401, 403, 409, 503))
async def passkey_options(actor: AccountOwner, auth: Auth) -> Options:
    """Ask what to ask the browser to make a passkey (`parseCreationOptionsFromJSON`). *Takes a recent proof.*"""
    return await auth.passkeys.offer(actor)


@router.post("", status_code=201, responses=problems(400, 401, 403, 409, 413, 415, 422, 503))
async def add_passkey(
    body: NewPasskey, actor: AccountOwner, auth: Auth, visitor: From, response: Response
) -> FreshPasskey:
    """Add the passkey that the browser made. The first factor gives recovery codes, and ends your other sessions.

    From then on it signs you in without a password, and signing in by password takes it or a code. *Takes a recent proof.*
    """
    row, codes = await auth.passkeys.add(
        actor, body.credential.as_json(), body.name, body.credential.response.transports, visitor
    )
    response.headers["Cache-Control"] = NO_STORE
    return FreshPasskey(**PasskeyView.of(row).model_dump(), recovery_codes=codes)


@router.patch("/{id}", responses=problems(400, 401, 403, 404, 413, 415, 422, 503))
async def rename_passkey(id: str, body: PasskeyName, actor: AccountWriter, auth: Auth) -> PasskeyView:
    """Call a passkey of yours something else."""
    return PasskeyView.of(await auth.passkeys.rename(actor.user_id, id, body.name))


@router.delete("/{id}", status_code=204, responses=problems(401, 403, 404, 503))
async def remove_passkey(id: str, request: Request, actor: AccountOwner, auth: Auth) -> None:
    """Remove a passkey. *Takes a recent proof.*"""
    await auth.passkeys.remove(trail_of(request, actor), actor.user_id, id)


@router.post("/sign-in/options", dependencies=[Depends(open_to_all)], responses=problems(409, 429, 503))
async def sign_in_options(auth: Auth) -> Options:
    """Ask what to ask the browser to sign in without a password (`parseRequestOptionsFromJSON`)."""
    return await auth.second_step.ask_anybody()


@router.post(
    "/sign-in",
    response_model=TokenAnswer | CookieAnswer,
    responses={200: TOKENS[200], **problems(400, 401, 403, 409, 413, 415, 422, 429, 503)},
)
async def sign_in(request: Request, body: PasskeySignIn, auth: Auth, visitor: From) -> Response:
    """Sign in with a passkey alone. It has to make sure of you, by a PIN or a finger, say; no second factor is asked for."""
    if body.cookie:
        auth.cookies.check_origin(request)
    with await limits_of(request).attempt(request):
        issued, email = await auth.second_step.by_passkey_alone(body.credential.as_json(), visitor)
    return signed_in(request, auth, issued, device_of=email if body.cookie else None)
