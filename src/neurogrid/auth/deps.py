"""Authentication as FastAPI dependencies: ``Depends(permitted(...))`` on every route (design law 7)."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from neurogrid.auth.policy import Identity, Permission
from neurogrid.core.errors import Forbidden, Unauthenticated

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def credential(request: Request) -> str:
    """Return the credential a request carries. Raises ``Unauthenticated``."""
    headers = request.headers
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
        msg = "The Authorization header must read `Bearer <API key>`."
        raise Unauthenticated(msg, headers=_CHALLENGE)
    key = headers.get("x-api-key")
    if key:
        return key.strip()
    msg = "Send an API key as `Authorization: Bearer ng_…` or `X-API-Key: ng_…`."
    raise Unauthenticated(msg, headers=_CHALLENGE)


async def admit(request: Request) -> None:
    """Refuse a caller without valid credentials, before anything of the request is read."""
    try:
        await request.state.auth.identify(credential(request))
    except Unauthenticated as error:
        error.headers.update(_CHALLENGE)
        raise


class permitted(SecurityBase):  # noqa: N801 - reads as a function: Depends(permitted(Permission.X))
    """Let through only callers who have a permission; hands on their ``Identity``."""

    def __init__(self, permission: Permission) -> None:
        """Ask for ``permission``."""
        self.permission = permission
        self.scheme_name = "API key"
        self.model: Any = HTTPBearerModel(
            description="An API key, `ng_…`, as bearer token (or in the header `X-API-Key`)."
        )

    async def __call__(self, request: Request) -> Identity:
        """Return the caller. Raises ``Unauthenticated`` or ``Forbidden``."""
        try:
            identity: Identity = await request.state.auth.identify(credential(request))
        except Unauthenticated as error:
            error.headers.update(_CHALLENGE)
            raise
        if not identity.may(self.permission):
            msg = (
                f"This takes the permission {self.permission}, which the role {identity.role} does not have."
            )
            raise Forbidden(msg)
        return identity
