"""`/v1/auth/2fa` and `/v1/auth/step-up`: second factors, the second step of signing in, and proofs in between."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from neurogrid.auth import totp
from neurogrid.auth.answers import TOKENS, signed_in
from neurogrid.auth.deps import AccountOwner, AccountReader, Auth, From, SignedIn, limits_of, open_to_all
from neurogrid.auth.schemas import CookieAnswer, TokenAnswer
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.factors.schemas import (
    CodeBody,
    FactorAdded,
    FactorsView,
    NewTotp,
    Options,
    Proofs,
    RecoveryCodes,
    SecondStepBody,
    SteppedUp,
    TicketBody,
)

NO_STORE = "no-store"
MAX_BODY = 32 * 1024

router = APIRouter(prefix="/v1/auth", tags=["account"], route_class=StrictJSONRoute, max_body_size=MAX_BODY)


@router.get("/2fa", responses=problems(401, 403))
async def second_factors(actor: AccountReader, auth: Auth) -> FactorsView:
    """Say what your account has besides its password."""
    found = await auth.factors.of(actor.user_id)
    return FactorsView(
        totp=found.totp_since is not None,
        totp_since=found.totp_since,
        passkeys=found.passkeys,
        recovery_codes_left=found.recovery_codes,
        required=actor.lacks_factor,
    )


@router.post("/2fa/totp", status_code=201, responses=problems(401, 403, 409, 503))
async def enrol_totp(actor: AccountOwner, auth: Auth, response: Response) -> NewTotp:
    """Begin to set up an authenticator app: scan the code, then confirm with what the app shows.

    It counts from then on. Asking again gives another secret. *Takes a recent proof.*
    """
    made = await auth.factors.enrol(actor)
    response.headers["Cache-Control"] = NO_STORE
    return NewTotp(secret=made.secret, uri=made.uri, qr_svg=totp.picture(made.uri))


@router.post("/2fa/totp/confirm", responses=problems(400, 401, 403, 413, 415, 422, 503))
async def confirm_totp(
    body: CodeBody, actor: AccountOwner, auth: Auth, visitor: From, response: Response
) -> FactorAdded:
    """Take the app into use. The first factor gives recovery codes, and ends your other sessions."""
    codes = await auth.factors.confirm(actor, body.code, visitor)
    response.headers["Cache-Control"] = NO_STORE
    return FactorAdded(recovery_codes=codes)


@router.delete("/2fa/totp", status_code=204, responses=problems(401, 403, 409, 503))
async def disable_totp(actor: AccountOwner, auth: Auth, visitor: From) -> None:
    """Take the app out of use. *Takes a recent proof.*"""
    await auth.factors.disable(actor, visitor)


@router.post("/2fa/recovery-codes", status_code=201, responses=problems(401, 403, 409, 503))
async def renew_codes(actor: AccountOwner, auth: Auth, visitor: From, response: Response) -> RecoveryCodes:
    """Make ten new recovery codes; the earlier ones are worth nothing. *Takes a recent proof.*"""
    codes = await auth.factors.renew_codes(actor, visitor)
    response.headers["Cache-Control"] = NO_STORE
    return RecoveryCodes(recovery_codes=codes)


@router.post(
    "/2fa/options",
    dependencies=[Depends(open_to_all)],
    responses=problems(400, 401, 409, 413, 415, 422, 429, 503),
)
async def second_step_options(body: TicketBody, auth: Auth) -> Options:
    """Ask what to ask your passkeys, while a sign-in waits for a second factor."""
    return await auth.second_step.ask(body.ticket)


@router.post(
    "/2fa/sign-in",
    response_model=TokenAnswer | CookieAnswer,
    responses={200: TOKENS[200], **problems(400, 401, 403, 409, 413, 415, 422, 429, 503)},
)
async def second_step(request: Request, body: SecondStepBody, auth: Auth, visitor: From) -> Response:
    """Complete a sign-in with a second factor and the `ticket` of the first step.

    The ticket is good for five minutes, five tries, and one sign-in. After five wrong codes the next have to wait,
    longer and longer, whatever the ticket.
    """
    if body.cookie:
        auth.cookies.check_origin(request)
    with await limits_of(request).attempt(request):
        if body.credential is not None:
            done = await auth.second_step.by_passkey(body.ticket, body.credential.as_json(), visitor)
        else:
            done = await auth.second_step.by_code(body.ticket, body.code or "", visitor)
    issued, email = done
    return signed_in(request, auth, issued, device_of=email if body.cookie else None)


@router.post("/step-up/options", responses=problems(401, 403, 409, 503))
async def step_up_options(actor: SignedIn, auth: Auth) -> Options:
    """Ask what to ask your passkeys, to show again who you are."""
    return await auth.step_up.ask(actor)


@router.post("/step-up", responses=problems(400, 401, 403, 409, 413, 415, 422, 429, 503))
async def step_up(body: Proofs, actor: SignedIn, auth: Auth, visitor: From) -> SteppedUp:
    """Show again who you are, for what answers 403 `step_up_required`. It counts for this session, for ten minutes.

    Where you have a second factor, show that; the password is not enough then.
    """
    if body.password is not None:
        await auth.step_up.by_password(actor, body.password.get_secret_value(), visitor)
    elif body.credential is not None:
        await auth.step_up.by_passkey(actor, body.credential.as_json(), visitor)
    else:
        await auth.step_up.by_code(actor, body.code or "", visitor)
    return SteppedUp(expires_in=round(auth.step_up.lifetime))
