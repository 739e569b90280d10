"""`/v1/auth`: accounts, sign-in and sessions."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.answers import TOKENS, in_cookies, plain, signed_in, signed_in_by_form
from neurogrid.auth.deps import (
    AccountOwner,
    AccountReader,
    AccountWriter,
    Auth,
    From,
    SignedIn,
    carried,
    limits_of,
    open_to_all,
    trail_of,
)
from neurogrid.auth.forms import BODY, FormSignIn, read_sign_in
from neurogrid.auth.schemas import (
    Accepted,
    AccountView,
    Address,
    CookieAnswer,
    MailedToken,
    NewAccount,
    PasswordChange,
    PasswordReset,
    RefreshRequest,
    SessionList,
    SessionView,
    TokenAnswer,
)
from neurogrid.core.errors import Unauthenticated
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems

MAX_BODY = 16 * 1024
MAIL_SENT = "If that can be done, a mail is on its way to the address; it says how to go on."
router = APIRouter(prefix="/v1/auth", tags=["account"], route_class=StrictJSONRoute, max_body_size=MAX_BODY)


@router.post(
    "/register",
    status_code=202,
    response_model=Accepted,
    dependencies=[Depends(open_to_all)],
    responses=problems(400, 403, 413, 415, 422, 429, 503),
)
async def register(body: NewAccount, auth: Auth) -> Accepted:
    """Make an account.

    A mail asks to confirm the address. The answer is the same for an address that has an account already; its owner
    is told by mail.
    """
    await auth.accounts.register(body.email, body.password.get_secret_value(), body.invitation)
    return Accepted(detail=MAIL_SENT)


@router.post(
    "/verify-email",
    status_code=204,
    dependencies=[Depends(open_to_all)],
    responses=problems(400, 413, 415, 422, 429),
)
async def verify_email(body: MailedToken, auth: Auth) -> None:
    """Confirm your e-mail address with the token of the mail."""
    await auth.accounts.verify_email(body.token)


@router.post(
    "/verify-email/send", status_code=202, response_model=Accepted, responses=problems(401, 403, 503)
)
async def send_verification(actor: AccountWriter, auth: Auth) -> Accepted:
    """Send the mail that confirms your address again, unless it is confirmed."""
    await auth.accounts.send_verification(actor)
    return Accepted(detail=MAIL_SENT)


@router.post(
    "/token",
    response_model=TokenAnswer | CookieAnswer,
    responses={**TOKENS, **problems(400, 401, 403, 413, 415, 422, 429, 503)},
    openapi_extra=BODY,
)
async def sign_in(request: Request, auth: Auth, visitor: From) -> Response:
    """Sign in, by JSON or by OAuth2's form (`grant_type` `password` or `refresh_token`).

    Send the access token as `Authorization: Bearer`; when it expires, exchange the refresh token at
    `/v1/auth/refresh`. After five failures the next attempts have to wait, longer and longer.

    Where there is a second factor, the answer is 202 `mfa_required` with a `ticket` for `/v1/auth/2fa/sign-in`; or give
    a `code` right here. The form, and so *Authorize*, takes the code as `client_secret`.
    """
    wanted = await read_sign_in(request)
    if isinstance(wanted, RefreshRequest):
        return plain(await auth.sessions.refresh(wanted.refresh_token or "", visitor))
    if wanted.cookie:
        auth.cookies.check_origin(request)
    known = auth.sign_in.knows(visitor.device, wanted.email.strip().lower())
    with nullcontext() if known else await limits_of(request).attempt(request):
        password = wanted.password.get_secret_value()
        issued = await auth.second_step.by_password(wanted.email, password, wanted.code, visitor)
    if isinstance(wanted, FormSignIn):
        return signed_in_by_form(issued)
    return signed_in(request, auth, issued, device_of=wanted.email if wanted.cookie else None)


@router.post(
    "/refresh",
    response_model=TokenAnswer | CookieAnswer,
    responses=problems(400, 401, 403, 413, 415, 422, 503),
)
async def refresh(
    request: Request, auth: Auth, visitor: From, body: RefreshRequest | None = None
) -> Response:
    """Exchange a refresh token for a new pair; it is good for one use.

    The same token again within a few seconds gives the same successor, for clients that lost the answer or ask twice
    at once. Later it ends the session: somebody else may have it.
    """
    if body is not None and body.refresh_token is not None:
        return plain(await auth.sessions.refresh(body.refresh_token, visitor))
    token = auth.cookies.refresh(request)
    if token is None:
        msg = "Send the refresh token as `refresh_token`, or in the cookie."
        raise Unauthenticated(msg)
    issued = await auth.sessions.refresh(token, visitor, lambda session: auth.cookies.check(request, session))
    return in_cookies(request, auth, issued, None)


@router.post("/logout", status_code=204, responses=problems(400, 403, 413, 415, 422, 503))
async def sign_out(
    request: Request, auth: Auth, visitor: From, body: RefreshRequest | None = None
) -> Response:
    """Sign out: end the session of the access or refresh token, wherever it is sent. Doing it again changes nothing."""
    response = Response(status_code=204)
    session = await _session_of(request, auth, body)
    if session is not None:

        async def note(transaction: AsyncSession) -> None:
            await auth.audit.note(transaction, "session.signed_out", *session, visitor.address)

        await auth.sessions.revoke_if_living(*session, "signed out", note)
    auth.cookies.clear(request, response)
    return response


async def _session_of(request: Request, auth: Auth, body: RefreshRequest | None) -> tuple[str, str] | None:
    """Return user and session that a request is about, if any. Raises ``CsrfRefused``."""
    if body is not None and body.refresh_token is not None:
        return await auth.sessions.session_of(body.refresh_token)
    by_cookie = auth.cookies.refresh(request)
    try:
        token, in_cookie = carried(request)
        identity = await auth.service.identify(token)
        session = (identity.user_id, identity.session_id) if identity.session_id else None
    except Unauthenticated:
        session, in_cookie = None, True
    if session is None and by_cookie is not None:
        session, in_cookie = await auth.sessions.session_of(by_cookie), True
    if session is not None and in_cookie:
        auth.cookies.check(request, session[1])
    return session


@router.post(
    "/password/forgot",
    status_code=202,
    response_model=Accepted,
    dependencies=[Depends(open_to_all)],
    responses=problems(400, 413, 415, 422, 429, 503),
)
async def forgot_password(body: Address, auth: Auth) -> Accepted:
    """Have a link mailed that resets the password. The answer is the same for an address without account."""
    await auth.accounts.forgot(body.email)
    return Accepted(detail=MAIL_SENT)


@router.post(
    "/password/reset",
    status_code=204,
    dependencies=[Depends(open_to_all)],
    responses=problems(400, 413, 415, 422, 429, 503),
)
async def reset_password(request: Request, body: PasswordReset, auth: Auth, visitor: From) -> Response:
    """Choose a new password with the token of the mail. Every session ends."""
    email = await auth.accounts.reset(body.token, body.password.get_secret_value(), visitor)
    response = Response(status_code=204)
    auth.cookies.set_device(request, response, auth.sign_in.device_of(email))
    return response


@router.post("/password", status_code=204, responses=problems(400, 401, 403, 413, 415, 422, 429, 503))
async def change_password(
    request: Request, body: PasswordChange, actor: AccountOwner, auth: Auth, visitor: From
) -> Response:
    """Choose another password. Every session ends, this one as well: sign in again. *Takes a recent proof.*"""
    current, new = body.current_password.get_secret_value(), body.new_password.get_secret_value()
    await auth.accounts.change_password(actor, current, new, visitor)
    response = Response(status_code=204)
    auth.cookies.clear(request, response)
    return response


@router.get("/me", responses=problems(401, 403))
async def me(actor: AccountReader, auth: Auth) -> AccountView:
    """Say who you are and what you may."""
    row = await auth.accounts.of(actor)
    return AccountView(
        id=row["id"],
        email=row["email"],
        email_verified=row["email_verified_at"] is not None,
        role=row["role"],
        tier=row["tier"],
        created_at=row["created_at"],
        session_id=actor.session_id,
        permissions=sorted(actor.permissions),
        second_factor_required=actor.lacks_factor,
    )


@router.get("/sessions", responses=problems(401, 403))
async def list_sessions(actor: AccountReader, auth: Auth) -> SessionList:
    """List where you are signed in, the last used first."""
    rows = await auth.sessions.of_user(actor.user_id)
    return SessionList(
        data=[
            SessionView(**{**row, "methods": row["methods"].split()}, current=row["id"] == actor.session_id)
            for row in rows
        ]
    )


@router.delete("/sessions/{session_id}", status_code=204, responses=problems(401, 403, 404, 503))
async def revoke_session(
    session_id: Annotated[str, Path(description="Id of a session of yours.")],
    request: Request,
    actor: SignedIn,
    auth: Auth,
) -> None:
    """Sign out one session, on whatever device. It ends everywhere within 5 seconds. *Not by API key.*"""
    note = trail_of(request, actor).of("session.revoked", session_id)
    await auth.sessions.revoke(actor.user_id, session_id, "revoked", note)


@router.delete("/sessions", status_code=204, responses=problems(401, 403, 422, 503))
async def revoke_sessions(
    request: Request,
    actor: SignedIn,
    auth: Auth,
    *,
    except_current: Annotated[bool, Query(description="Leave the session you use.")] = False,
) -> None:
    """Sign out every session of yours. They end everywhere within 5 seconds. *Not by API key.*"""
    keep = actor.session_id if except_current else None
    note = trail_of(request, actor).of("session.all_revoked", kept=keep)
    await auth.sessions.revoke_all(actor.user_id, "revoked", note, keep)
