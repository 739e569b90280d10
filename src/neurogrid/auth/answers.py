"""The answers to a sign-in."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from neurogrid.auth.parts import AuthParts
from neurogrid.auth.schemas import CookieAnswer, SecondFactorNeeded, TokenAnswer
from neurogrid.auth.sessions import Issued
from neurogrid.auth.signin import Pending
from neurogrid.core.errors import Forbidden


class CodeRequired(Forbidden):
    """The password was right, and a form that is answered in one go lacks the code of a second factor."""

    code, title = "mfa_required", "A second factor is needed"

    def __init__(self) -> None:
        super().__init__(
            "Give the code of your authenticator app, or a recovery code, as `client_secret` (or `code`) in the same request."
        )


NO_STORE = {"Cache-Control": "no-store"}
TOKENS: dict[int | str, dict[str, Any]] = {
    200: {"model": TokenAnswer | CookieAnswer, "description": "Signed in."},
    202: {"model": SecondFactorNeeded, "description": "The password was right; a second factor is needed."},
}


def signed_in(
    request: Request, auth: AuthParts, issued: Issued | Pending, *, device_of: str | None = None
) -> Response:
    """Return the answer to a sign-in. With the address ``device_of`` it goes into cookies, and the device is known."""
    if isinstance(issued, Pending):
        needed = SecondFactorNeeded(
            ticket=issued.ticket, second_factors=list(issued.factors), expires_in=issued.expires_in
        )
        return JSONResponse(needed.model_dump(), 202, NO_STORE)
    if device_of is None:
        return plain(issued)
    return in_cookies(request, auth, issued, auth.sign_in.device_of(device_of.strip().lower()))


def signed_in_by_form(issued: Issued | Pending) -> Response:
    """Return the answer to OAuth2's form, whose clients know no second step. Raises ``CodeRequired``."""
    if isinstance(issued, Pending):
        raise CodeRequired
    return plain(issued)


def plain(issued: Issued) -> Response:
    """Return a session in the body."""
    answer = TokenAnswer(
        access_token=issued.access_token,
        expires_in=issued.expires_in,
        refresh_token=issued.refresh_token,
        refresh_expires_in=issued.refresh_expires_in,
        session_id=issued.session_id,
    )
    return JSONResponse(answer.model_dump(), headers=NO_STORE)


def in_cookies(request: Request, auth: AuthParts, issued: Issued, device: str | None) -> Response:
    """Return a session in cookies."""
    answer = CookieAnswer(
        csrf_token=auth.cookies.csrf_token(issued.session_id),
        expires_in=issued.expires_in,
        refresh_expires_in=issued.refresh_expires_in,
        session_id=issued.session_id,
    )
    response = JSONResponse(answer.model_dump(), headers=NO_STORE)
    auth.cookies.set(request, response, issued, device)
    return response
