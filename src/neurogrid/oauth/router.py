"""`/v1/auth/oauth`: sign-in by other providers."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from neurogrid.auth.answers import NO_STORE, TOKENS, signed_in
from neurogrid.auth.deps import (
    AccountOwner,
    AccountReader,
    Auth,
    From,
    limits_of,
    open_to_all,
    trail_of,
)
from neurogrid.auth.oauth import linking, service
from neurogrid.auth.oauth.flows import MAX_PATH
from neurogrid.auth.router import MAIL_SENT, MAX_BODY
from neurogrid.auth.schemas import Accepted, CookieAnswer, SecondFactorNeeded, TokenAnswer
from neurogrid.auth.signin import Pending
from neurogrid.core.errors import BadRequest
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.oauth.schemas import (
    Begun,
    IdentityList,
    IdentityView,
    LinkNeeded,
    LinkProof,
    LinkTicket,
    ProviderList,
    ProviderView,
)

SEE_OTHER: Final = 303
_MOVED: Final[dict[int | str, dict[str, Any]]] = {
    303: {
        "description": "Go there.",
        "headers": {"Location": {"description": "Where to.", "schema": {"type": "string"}}},
    }
}
_CAME: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": TokenAnswer | IdentityView, "description": "Signed in, or linked."},
    202: {"model": SecondFactorNeeded | LinkNeeded, "description": "More has to be shown."},
}

router = APIRouter(
    prefix="/v1/auth/oauth", tags=["account"], route_class=StrictJSONRoute, max_body_size=MAX_BODY
)

Name = Annotated[str, Path(max_length=32, description="A provider's name.", examples=["google"])]
Next = Annotated[str, Query(max_length=MAX_PATH, description="The path of this grid to return to.")]


@router.get("", dependencies=[Depends(open_to_all)], responses=problems(429))
async def list_providers(auth: Auth) -> ProviderList:
    """List the providers that one may sign in by."""
    return ProviderList(
        data=[
            ProviderView(name=each.name, label=each.label, start=f"{router.prefix}/{each.name}/start")
            for each in auth.oauth.providers.values()
        ]
    )


@router.get(
    "/{provider}/start",
    response_model=Begun,
    dependencies=[Depends(open_to_all)],
    responses={**_MOVED, **problems(404, 422, 429, 502)},
)
async def start(
    provider: Name,
    request: Request,
    auth: Auth,
    next: Next = "/",
    invitation: Annotated[
        str | None, Query(max_length=200, description="Where registering takes one: `ngi_…`.")
    ] = None,
) -> Response:
    """Begin to sign in by a provider: open this in a browser.

    Who asks for JSON (`Accept: application/json`) gets the provider's URL, and a cookie that the browser needs that
    goes there. The answer comes to the same browser within ten minutes.
    """
    begun = await auth.oauth.begin(provider, next, invitation)
    response = _begun(begun) if _wants_json(request) else _see(begun.url)
    auth.cookies.set_flow(request, response, begun.sealed, begun.expires_in)
    return response


@router.post("/{provider}/link", response_model=Begun, responses=problems(401, 403, 404, 422, 502))
async def link_own(
    provider: Name, request: Request, actor: AccountOwner, auth: Auth, next: Next = "/"
) -> Response:
    """Begin to link an account at a provider to yours: send the browser that got this answer to the URL in it."""
    begun = await auth.oauth.begin(provider, next, identity=actor)
    response = _begun(begun)
    auth.cookies.set_flow(request, response, begun.sealed, begun.expires_in)
    return response


@router.get(
    "/{provider}/callback",
    response_model=TokenAnswer,
    dependencies=[Depends(open_to_all)],
    responses={**_CAME, **_MOVED, **problems(400, 401, 403, 404, 409, 422, 429, 502, 503)},
)
async def callback(
    provider: Name,
    request: Request,
    auth: Auth,
    visitor: From,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
    iss: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Take a provider's answer; providers send browsers here.

    A browser gets cookies and is sent back to the path where it began; who asks for JSON gets tokens. Where more has to
    be shown, a browser finds `ticket` and what goes with it after the `#` of that path: a second factor
    (`second_factors`), or that the account which has this address is yours (`ways`).
    """
    _once(request)
    answer = service.Answer(state, code, error, iss)
    flow, outcome = await auth.oauth.finish(provider, answer, auth.cookies.flow(request), visitor)
    response = _arrived(request, auth, auth.oauth.at(flow.path), outcome)
    auth.cookies.clear_flow(request, response)
    return response


@router.post(
    "/link",
    response_model=TokenAnswer | CookieAnswer,
    responses={**TOKENS, **problems(400, 401, 403, 409, 413, 415, 422, 429, 503)},
    dependencies=[Depends(open_to_all)],
)
async def link(body: LinkProof, request: Request, auth: Auth, visitor: From) -> Response:
    """Show by its password, or by the token of the mail, that an account is yours: it is linked, and you are signed in.

    With an account that takes a second factor, a password links nothing yet (202): go on as with a sign-in, then send
    the ticket to `/v1/auth/oauth/identities`.
    """
    if body.cookie:
        auth.cookies.check_origin(request)
    email = await auth.oauth.linking.email_of(body.ticket)
    if body.password is not None:
        known = auth.sign_in.knows(visitor.device, email)
        with nullcontext() if known else await limits_of(request).attempt(request):
            issued = await auth.oauth.linking.by_password(
                body.ticket, body.password.get_secret_value(), visitor
            )
    else:
        issued = await auth.oauth.linking.by_mail(body.ticket, body.token or "", visitor)
    return signed_in(request, auth, issued, device_of=email if body.cookie else None)


@router.post(
    "/link/mail",
    status_code=202,
    response_model=Accepted,
    dependencies=[Depends(open_to_all)],
    responses=problems(400, 413, 415, 422, 429, 503),
)
async def send_link(body: LinkTicket, auth: Auth) -> Accepted:
    """Have a token mailed to the account that a ticket is for."""
    await auth.oauth.linking.mail(body.ticket)
    return Accepted(detail=MAIL_SENT)


@router.get("/identities", responses=problems(401, 403))
async def list_identities(actor: AccountReader, auth: Auth) -> IdentityList:
    """List the accounts elsewhere by which you can sign in."""
    rows = await auth.oauth.identities.of_user(actor.user_id)
    return IdentityList(data=[IdentityView(**row) for row in rows])


@router.post("/identities", status_code=201, responses=problems(400, 401, 403, 409, 413, 415, 422, 503))
async def add_identity(body: LinkTicket, actor: AccountOwner, auth: Auth, visitor: From) -> IdentityView:
    """Link the account elsewhere that a ticket stands for to yours, which has its address."""
    return IdentityView(**await auth.oauth.linking.of_own(actor, body.ticket, visitor))


@router.delete("/identities/{id}", status_code=204, responses=problems(401, 403, 404, 409, 503))
async def remove_identity(id: str, request: Request, actor: AccountOwner, auth: Auth) -> None:
    """Unlink an account elsewhere. The last way to sign in stays."""
    trail = trail_of(request, actor)
    await auth.oauth.identities.remove(trail, actor.user_id, id)


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _begun(begun: service.Begun) -> Response:
    answer = Begun(authorization_url=begun.url, expires_in=begun.expires_in)
    return JSONResponse(answer.model_dump(), headers=NO_STORE)


def _once(request: Request) -> None:
    """Refuse a parameter that is there twice: who reads the other one sees another answer (RFC 6749, 3.1)."""
    names = [name for name, _ in request.query_params.multi_items()]
    if len(set(names)) < len(names):
        msg = "Each parameter may be there once."
        raise BadRequest(msg)


def _arrived(request: Request, auth: Auth, url: str, outcome: service.Outcome) -> Response:
    """Return what a browser, or who asks for JSON, gets for an outcome."""
    plain = _wants_json(request)
    match outcome:
        case service.Linked(identity=row):
            view = IdentityView(**row)
            return JSONResponse(view.model_dump(mode="json"), headers=NO_STORE) if plain else _see(url)
        case linking.LinkNeeded(ticket=ticket, expires_in=seconds):
            ways = list(linking.WAYS)
            if plain:
                needed = LinkNeeded(ticket=ticket, ways=ways, expires_in=seconds)
                return JSONResponse(needed.model_dump(), 202, NO_STORE)
            return _see(url, ticket=ticket, ways=",".join(ways), expires_in=seconds)
        case service.SignedIn(issued=Pending() as pending) if not plain:
            factors = ",".join(pending.factors)
            return _see(url, ticket=pending.ticket, second_factors=factors, expires_in=pending.expires_in)
        case service.SignedIn(email=email, issued=issued):
            if plain or isinstance(issued, Pending):
                return signed_in(request, auth, issued)
            response = _see(url)
            auth.cookies.set(request, response, issued, auth.sign_in.device_of(email))
            return response


def _see(url: str, **more: str | int) -> Response:
    """Send a browser to ``url``; what is after the ``#`` goes to no server and into no log."""
    return RedirectResponse(f"{url}#{urlencode(more)}" if more else url, SEE_OTHER, NO_STORE)
