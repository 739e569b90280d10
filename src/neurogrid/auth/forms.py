"""What ``/v1/auth/token`` takes: JSON, or the form of OAuth2 (RFC 6749), as which Swagger's *Authorize* sends it."""

from __future__ import annotations

import base64
from typing import Any, Final

from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.requests import Request

from neurogrid.auth.schemas import PasswordSignIn, RefreshRequest
from neurogrid.core.errors import BadRequest, FieldError, Invalid
from neurogrid.core.http.body import UnsupportedMediaType, parse_json
from neurogrid.core.http.fields import field_errors

FORM: Final = "application/x-www-form-urlencoded"
_DEPTH: Final = 4
_MAX_FIELDS: Final = 20

BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["email", "password"],
                    "additionalProperties": False,
                    "properties": {
                        "email": {"type": "string", "maxLength": 254, "examples": ["ada@example.org"]},
                        "password": {"type": "string", "maxLength": 1024, "format": "password"},
                        "code": {
                            "type": ["string", "null"],
                            "maxLength": 40,
                            "description": "Of the authenticator app, or a recovery code, to sign in by one request.",
                        },
                        "cookie": {
                            "type": "boolean",
                            "default": False,
                            "description": "Keep the tokens in cookies that scripts cannot read, for pages of ours.",
                        },
                    },
                },
                "example": {"email": "ada@example.org", "password": "correct horse battery staple"},
            },
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "grant_type": {
                            "type": "string",
                            "enum": ["password", "refresh_token"],
                            "default": "password",
                        },
                        "username": {"type": "string", "description": "The e-mail address."},
                        "password": {"type": "string", "format": "password"},
                        "refresh_token": {"type": "string"},
                        "client_secret": {
                            "type": "string",
                            "description": "Where you have a second factor: the code of the app, or a recovery code. "
                            "Also taken as the password of `Authorization: Basic`, as *Authorize* sends it.",
                        },
                        "code": {"type": "string", "description": "The same under its own name."},
                        "scope": {"type": "string", "description": "Taken and not used."},
                    },
                },
                "example": {
                    "grant_type": "password",
                    "username": "ada@example.org",
                    "password": "correct horse battery staple",
                },
            },
        },
    }
}


class FormSignIn(PasswordSignIn):
    """Who signs in by OAuth2's form: in one request, and without cookies."""


async def read_sign_in(request: Request) -> PasswordSignIn | RefreshRequest:
    """Return what is asked for. Raises ``Invalid``, ``MalformedJson`` or ``UnsupportedMediaType``."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _checked(parse_json(await request.body(), _DEPTH))
    if kind == FORM:
        async with request.form(max_files=0, max_fields=_MAX_FIELDS) as form:
            return _of_form(form, request.headers.get("authorization", ""))
    msg = f"The body has to be sent as Content-Type: application/json or {FORM}."
    raise UnsupportedMediaType(msg)


def _of_form(form: FormData, authorization: str) -> PasswordSignIn | RefreshRequest:
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if len(fields) < len(form.multi_items()):
        msg = "Each field of the form may be there once."
        raise BadRequest(msg)
    match fields.get("grant_type", "password"):
        case "password":
            code = fields.get("code") or fields.get("client_secret") or _secret_of(authorization)
            given = {
                "email": fields.get("username"),
                "password": fields.get("password"),
                "code": code or None,
            }
            return _checked({name: value for name, value in given.items() if value is not None}, FormSignIn)
        case "refresh_token":
            return RefreshRequest(refresh_token=fields.get("refresh_token", "")[:200])
        case _:
            msg = "The grant type is neither password nor refresh_token."
            raise Invalid(msg, errors=[FieldError("grant_type", "password or refresh_token")])


def _secret_of(authorization: str) -> str:
    """Return what a client of OAuth2 says as its secret in a header (RFC 6749, 2.3.1); we have no such clients."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _checked(value: Any, kind: type[PasswordSignIn] = PasswordSignIn) -> PasswordSignIn:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        located = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_input=False)]
        errors = field_errors(located, value)
        detail = "; ".join(f"{each.field}: {each.message}" for each in errors[:3])
        raise Invalid(detail, errors=errors) from None
