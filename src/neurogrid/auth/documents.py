"""The ways to authenticate, in the OpenAPI document: what takes an API key takes a sign-in as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI

SCHEMES: Final[dict[str, Any]] = {
    "Password": {
        "type": "oauth2",
        "description": "E-mail address and password. If you have a second factor, type the code of your "
        "authenticator app, or a recovery code, into **client_secret**; otherwise leave the client fields empty.",
        "flows": {
            "password": {
                "tokenUrl": "/v1/auth/token",
                "refreshUrl": "/v1/auth/token",
                "scopes": {},
            }
        },
    },
    "Cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-ng_access",
        "description": "The session of a page of the gateway. What changes something takes the header `X-CSRF-Token`.",
    },
}


def install(app: FastAPI) -> None:
    """Have ``app.openapi()`` name them."""
    plain: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemes = document.get("components", {}).get("securitySchemes", {})
        if not schemes.keys() >= SCHEMES.keys():
            schemes.update(SCHEMES)
            for path in document["paths"].values():
                for operation in path.values():
                    if isinstance(operation, dict) and operation.get("security"):
                        operation["security"] += [{name: []} for name in SCHEMES]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend the document
