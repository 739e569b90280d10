"""Authentication as FastAPI dependencies: ``Depends(permitted(...))`` on every route (design law 7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

from fastapi import Depends
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection, Request

from neurogrid.auth.cookies import SAFE, Cookies
from neurogrid.auth.parts import AuthParts
from neurogrid.auth.policy import NEEDS_VERIFIED_EMAIL, OWN_ACCOUNT, Identity, Permission, Proof
from neurogrid.auth.ports import Limiting
from neurogrid.auth.trail import Trail
from neurogrid.auth.visitors import Visitor
from neurogrid.core.errors import Forbidden, Unauthenticated
from neurogrid.core.http.addresses import AddressNotAllowed, client_address

CHALLENGE = {"WWW-Authenticate": "Bearer"}


class EmailNotVerified(Forbidden):
    """The account's address has to be proven first."""

    code, title = "email_not_verified", "E-mail address not verified"

    def __init__(self) -> None:
        super().__init__(
            "Confirm your e-mail address first; POST /v1/auth/verify-email/send mails you the link again."
        )


class SecondFactorRequired(Forbidden):
    """The role takes a second factor, and the account has none yet."""

    code, title = "second_factor_required", "A second factor is needed"

    def __init__(self) -> None:
        super().__init__(
            "Your role takes a second factor. Set up an authenticator app (POST /v1/auth/2fa/totp) or a passkey "
            "(POST /v1/auth/passkeys/options); until then you may do nothing else."
        )


def credential(request: Request) -> str:
    """Return the credential a request carries. Raises ``Unauthenticated``."""
    return carried(request)[0]


def carried(request: Request) -> tuple[str, bool]:
    """Return the credential a request carries, and whether a cookie did. Raises ``Unauthenticated``.

    A header counts before a cookie, and a wrong header is not saved by a cookie.
    """
    headers = request.headers
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip(), False
        msg = "The Authorization header must read `Bearer <access token or API key>`."
        raise Unauthenticated(msg, headers=CHALLENGE)
    key = headers.get("x-api-key")
    if key:
        return key.strip(), False
    cookies = cookies_of(request)
    token = cookies.access(request) or "" if cookies is not None and "cookie" in headers else ""
    if token:
        return token, True
    msg = (
        "Send an access token or an API key as `Authorization: Bearer …`, or an API key as `X-API-Key: ng_…`."
    )
    raise Unauthenticated(msg, headers=CHALLENGE)


def cookies_of(connection: HTTPConnection) -> Cookies | None:
    """Return what reads cookies, where there is such a thing."""
    return cast("Cookies | None", connection.scope.get("state", {}).get("cookies"))


async def identify(request: Request) -> Identity:
    """Return the caller, who came by a header, or by a cookie from a page of ours.

    Who has no valid credentials is counted against their address. Raises ``Unauthenticated`` with a challenge,
    ``LimitExceeded`` in its place, ``AddressNotAllowed`` or ``CsrfRefused``.
    """
    try:
        token, by_cookie = carried(request)
        identity: Identity = await request.state.auth.identify(token)
    except Unauthenticated as error:
        error.headers.update(CHALLENGE)
        await limits_of(request).stranger(request)
        raise
    if not identity.may_come_from(client_address(request.scope)):
        await limits_of(request).stranger(request)
        raise AddressNotAllowed
    if by_cookie and request.method not in SAFE:
        request.state.cookies.check(request, identity.session_id)
    return identity


def limits_of(request: Request) -> Limiting:
    """Return what says how often somebody may ask."""
    return cast("Limiting", request.state.limits)


async def open_to_all(request: Request) -> None:
    """Let through anybody, within the limits of their address. Raises ``LimitExceeded``."""
    await limits_of(request).stranger(request)


async def admit(request: Request) -> None:
    """Refuse a caller without valid credentials, before anything of the request is read."""
    await identify(request)


class permitted(SecurityBase):  # noqa: N801 - reads as a function: Depends(permitted(Permission.X))
    """Let through only callers who have a permission and are within their limits; hands on their ``Identity``."""

    def __init__(self, permission: Permission, *limits: str, proof: Proof = Proof.NONE) -> None:
        """Ask for ``permission``; ``limits`` are the endpoint's classes (``limits.policy``), besides being a request.

        ``proof`` is what sensitive acts ask for.
        """
        self.permission = permission
        self.proof = proof
        self.limits = limits
        self.scheme_name = "API key"
        self.model: Any = HTTPBearerModel(
            description="An API key, `ng_…`, or an access token, as bearer token (keys also in `X-API-Key`)."
        )

    async def __call__(self, request: Request) -> Identity:
        """Return the caller. Raises ``Unauthenticated``, ``Forbidden`` or ``LimitExceeded``."""
        identity = await identify(request)
        await limits_of(request).admit(request, identity, self.limits)
        if identity.lacks_factor and self.permission not in OWN_ACCOUNT:
            raise SecondFactorRequired
        if not identity.may(self.permission):
            msg = (
                f"This takes the permission {self.permission}, which the role {identity.role} does not have."
                if identity.scopes is None
                else f"This takes the permission {self.permission}, which this API key was not made for."
            )
            raise Forbidden(msg)
        if (
            self.permission in NEEDS_VERIFIED_EMAIL
            and not identity.email_verified
            and request.state.auth.verified_email
        ):
            raise EmailNotVerified
        if self.proof is not Proof.NONE:
            await auth_parts(request).step_up.require(identity, self.proof)
        return identity


def auth_parts(request: Request) -> AuthParts:
    """Return what sign-in is made of, in this process."""
    return cast("AuthParts", request.state.identity)


Auth = Annotated[AuthParts, Depends(auth_parts)]


def visitor_of(request: Request) -> Visitor:
    """Return where a request comes from."""
    return auth_parts(request).cookies.visitor(request)


def trail_of(request: Request, actor: Identity | None) -> Trail:
    """Return what the audit log says of who acts in a request."""
    return Trail(auth_parts(request).audit, actor, client_address(request.scope))


def acting(
    permission: Permission, *limits: str, proof: Proof = Proof.NONE
) -> Callable[..., Awaitable[Trail]]:
    """Return a dependency that demands the same as ``permitted``, and hands on what notes the acts of the caller."""
    demand = permitted(permission, *limits, proof=proof)

    async def dependency(*, actor: Identity = Depends(demand), request: Request) -> Trail:
        return trail_of(request, actor)

    return dependency


From = Annotated[Visitor, Depends(visitor_of)]
AccountReader = Annotated[Identity, Depends(permitted(Permission.ACCOUNT_READ))]
AccountWriter = Annotated[Identity, Depends(permitted(Permission.ACCOUNT_WRITE))]
SignedIn = Annotated[Identity, Depends(permitted(Permission.ACCOUNT_WRITE, proof=Proof.SIGNED_IN))]
AccountOwner = Annotated[Identity, Depends(permitted(Permission.ACCOUNT_WRITE, proof=Proof.OWNER))]
"""Who has shown of late that the account is theirs."""
