"""The one place that turns errors into answers: RFC 9457 problem details (HTTP-3).

``install`` registers it. Whatever goes wrong, a client reads
``{type, title, status, detail, code, request_id, errors: [{field, message}]}``, and never an internal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from neurogrid.core.errors import FieldError, GridError, Invalid, OutcomeUnknown, TooLarge, Unavailable
from neurogrid.core.http.fields import field_errors
from neurogrid.core.http.templates import Templates

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:neurogrid:problem:"

log = structlog.get_logger(__name__)

_CODES = {400: "bad_request", 401: "unauthenticated", 403: "forbidden", 413: "body_too_large", 422: "invalid"}
_DETAILS = {
    404: "There is nothing at this path.",
    405: "This path does not take that method; see the Allow header.",
}
_CLIENT_GONE = 499
_IN_DETAIL = 3


class ProblemResponse(Response):
    """An answer with a problem in its body."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = {
            "type": TYPE_PREFIX + code,
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": correlation_id.get(),
            "errors": [asdict(error) for error in errors],
        }
        super().__init__(orjson.dumps(body), status_code=status, headers=dict(headers or {}))
        self.code = code
        if status == HTTPStatus.UNAUTHORIZED:
            self.headers.setdefault("WWW-Authenticate", "Bearer")


def install(app: FastAPI, templates: Templates | None = None) -> None:
    """Register the handlers on ``app``. What no handler knows is answered by ``middleware.AccessLog``.

    ``templates`` know all methods of a path; without them a 405 names those of the first route at the path alone.
    """
    answer = partial(_answer, templates)
    for kind in (GridError, RequestValidationError, HTTPException, ResponseValidationError, ClientDisconnect):
        app.add_exception_handler(kind, answer)


def internal_error() -> ProblemResponse:
    """Return the answer to an error nobody expected; the log has the rest, under the request id."""
    return ProblemResponse(
        GridError.status,
        GridError.code,
        GridError.title,
        "Something went wrong on our side. The request id leads to the cause in the server's log.",
    )


def database_away() -> ProblemResponse:
    """Return the answer to a request that needed to read from a database that does not answer."""
    return of_grid_error(Unavailable("The database is away. Try again in a moment.", retry_after=5))


def cut_off() -> ProblemResponse:
    """Return the answer to a request that was still under way when the server had to stop."""
    msg = "The server stopped before it could answer; whether this was done is unknown. Ask another one."
    return of_grid_error(OutcomeUnknown(msg, retry_after=1))


async def _answer(templates: Templates | None, connection: Any, error: Exception) -> Any:
    """Return the answer, or speak it over a WebSocket: refused before it is accepted, closed after."""
    response = _render(connection, error)
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED and templates is not None:
        methods = templates.methods(connection.scope["path"])
        if methods:
            response.headers["Allow"] = ", ".join(methods)
    if not isinstance(connection, WebSocket):
        return response
    if connection.application_state is WebSocketState.CONNECTING:
        await connection.send_denial_response(response)
    elif connection.application_state is WebSocketState.CONNECTED:
        await connection.close(4000 + response.status_code)
    return None


def _render(connection: HTTPConnection, error: Exception) -> Response:
    match error:
        case GridError():
            return of_grid_error(error)
        case RequestValidationError():
            return _of_validation(error)
        case HTTPException():
            return _of_http_exception(error, connection.scope.get(MAX_BODY_SIZE_SCOPE_KEY))
        case ResponseValidationError():
            # Its own text holds the whole answer, which is the user's data and does not belong in a log.
            fields = [".".join(map(str, each["loc"])) for each in error.errors()[:10]]
            log.error("answer_does_not_fit_its_schema", path=connection.url.path, fields=fields)
            return internal_error()
        case _:
            return Response(status_code=_CLIENT_GONE)


def of_grid_error(error: GridError) -> ProblemResponse:
    """Return the answer to an error of ours, for layers outside the application."""
    return ProblemResponse(
        error.status, error.code, error.title, error.detail, errors=error.errors, headers=error.headers
    )


def _of_validation(error: RequestValidationError) -> ProblemResponse:
    errors = field_errors(error.errors(), error.body)
    detail = "; ".join(f"{each.field}: {each.message}" for each in errors[:_IN_DETAIL])
    if len(errors) > _IN_DETAIL:
        detail += f"; and {len(errors) - _IN_DETAIL} more"
    return ProblemResponse(Invalid.status, Invalid.code, Invalid.title, detail, errors=errors)


def _of_http_exception(error: HTTPException, max_body: int | None) -> Response:
    status = error.status_code
    if status < HTTPStatus.BAD_REQUEST:
        return Response(status_code=status, headers=error.headers)
    if status == TooLarge.status:
        detail = f"The body may have at most {max_body} bytes."
        return ProblemResponse(status, TooLarge.code, TooLarge.title, detail)
    title, detail = _phrase(status), str(error.detail)
    code = _CODES.get(status) or "_".join(re.findall("[a-z]+", title.lower()))
    if detail == title:
        detail = _DETAILS.get(status, detail)
    return ProblemResponse(status, code, title, detail, headers=error.headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
