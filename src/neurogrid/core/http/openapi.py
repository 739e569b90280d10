"""Error bodies in the OpenAPI document: the ``Problem`` component and who answers with it (HTTP-1)."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from neurogrid.core.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GridError,
    Invalid,
    NotFound,
    ProviderUnavailable,
    TooLarge,
    TooManyTasks,
    Unauthenticated,
    Unavailable,
)
from neurogrid.core.http.body import UnsupportedMediaType
from neurogrid.core.http.problems import MEDIA_TYPE, TYPE_PREFIX

_REFERENCE: Final = {"$ref": "#/components/schemas/Problem"}
_EXAMPLE_REQUEST_ID: Final = "019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10"

SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong, as RFC 9457 problem details. `code` is stable; `detail` is for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": f"`{TYPE_PREFIX}` and the code."},
        "title": {"type": "string", "description": "The kind of problem; the same for every occurrence."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What happened here and what to do about it."},
        "code": {"type": "string", "description": "Stable name of the kind of problem, for programs."},
        "request_id": {
            "type": ["string", "null"],
            "description": "Also on the `X-Request-ID` header; leads to the server's log.",
        },
        "errors": {
            "type": "array",
            "description": "The fields that are wrong, named as they were sent.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "examples": ["input.messages[0].role"]},
                    "message": {"type": "string"},
                },
            },
        },
    },
}

LIMIT_HEADERS: Final = {
    "Retry-After": "Seconds until the same request would be let through.",
    "RateLimit-Limit": "What the window of which least is left grants.",
    "RateLimit-Remaining": "What is left of it.",
    "RateLimit-Reset": "Seconds until it begins anew.",
    "RateLimit-Policy": 'All windows of such a request: `"name";q=amount;w=seconds`.',
    "X-RateLimit-Limit": "The same as `RateLimit-Limit`.",
    "X-RateLimit-Remaining": "The same as `RateLimit-Remaining`.",
    "X-RateLimit-Reset": "When it begins anew, in seconds since 1970.",
    "X-RateLimit-Tier": "`free`, `pro`, `enterprise`, `unlimited` or `anonymous`.",
}

_KINDS: Final[dict[int, tuple[type[GridError], str]]] = {
    400: (BadRequest, "The body is not valid JSON: unexpected end of data at line 1, column 12."),
    401: (Unauthenticated, "Send an API key as `Authorization: Bearer …` or `X-API-Key`."),
    403: (Forbidden, "This needs the role admin."),
    404: (NotFound, "There is no task with this id."),
    409: (Conflict, "The task has ended already."),
    413: (TooLarge, "The body may have at most 1048576 bytes."),
    415: (UnsupportedMediaType, "The body has to be sent as Content-Type: application/json."),
    422: (Invalid, "parameters.temperature: Input should be less than or equal to 2"),
    429: (TooManyTasks, "You have 100000 unfinished tasks; wait for some to end."),
    502: (ProviderUnavailable, "Google does not answer. Try again in a moment, or sign in another way."),
    503: (Unavailable, "The database does not answer; try again."),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return ``responses=`` for a route that answers with these problems, each with an example."""
    return {status: _response(status) for status in statuses}


def _response(status: int) -> dict[str, Any]:
    kind, detail = _KINDS[status]
    errors = (
        [{"field": "parameters.temperature", "message": "Input should be less than or equal to 2"}]
        if status == HTTPStatus.UNPROCESSABLE_ENTITY
        else []
    )
    example = {
        "type": TYPE_PREFIX + kind.code,
        "title": kind.title,
        "status": status,
        "detail": detail,
        "code": kind.code,
        "request_id": _EXAMPLE_REQUEST_ID,
        "errors": errors,
    }
    return {
        "description": kind.title,
        "content": {MEDIA_TYPE: {"schema": _REFERENCE, "example": example}},
    }


def _rate_limited() -> dict[str, Any]:
    """Return what every operation that is limited may answer, and the headers that all its answers have."""
    example = {
        "type": f"{TYPE_PREFIX}rate_limited",
        "title": "Too many requests",
        "status": 429,
        "detail": "The limit is 100 requests an hour. Try again in 40 s.",
        "code": "rate_limited",
        "request_id": _EXAMPLE_REQUEST_ID,
        "errors": [],
    }
    headers = {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in LIMIT_HEADERS.items()
    }
    return {
        "description": "Too many requests. Other answers have these headers, too, but for `Retry-After`.",
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": _REFERENCE, "example": example}},
    }


def install(app: FastAPI) -> None:
    """Have ``app.openapi()`` describe problems where FastAPI would describe its own error bodies."""
    plain: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            plain()["components"] = _components(plain())
            _replace_validation_errors(plain())
            _add_limits(plain())
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend the document


def _components(document: dict[str, Any]) -> dict[str, Any]:
    components: dict[str, Any] = document.get("components", {})
    schemas = {
        name: schema
        for name, schema in components.get("schemas", {}).items()
        if name not in {"HTTPValidationError", "ValidationError"}
    }
    return {**components, "schemas": dict(sorted({**schemas, "Problem": SCHEMA}.items()))}


def _replace_validation_errors(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            responses = operation.get("responses", {}) if isinstance(operation, dict) else {}
            if "HTTPValidationError" in str(responses.get("422", "")):
                responses["422"] = _response(422)


def _add_limits(document: dict[str, Any]) -> None:
    """Say of what takes credentials that it is limited (``auth.deps.permitted`` sees to it)."""
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and operation.get("security"):
                operation["responses"].setdefault("429", _rate_limited())
