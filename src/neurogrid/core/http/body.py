"""Request bodies: bounded in bytes and depth, strict in what counts as JSON (HTTP-6).

The limit in bytes is FastAPI's own (``max_body_size`` on the app, a router or a route); ``BodyLimit`` is
its middleware, put where our other middleware sees its answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import params
from fastapi.routing import APIRoute
from starlette.middleware.body_limit import RequestBodyLimitResponder
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurogrid.core.errors import BadRequest, FieldError, Invalid, MalformedJson
from neurogrid.core.http.fields import join, strings

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MAX_REPORTED = 10
_MAX_DEPTH_KEY = "neurogrid.max_depth"
DEFAULT_DEPTH = 64

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class UnsupportedMediaType(BadRequest):
    """The body is said to be something other than JSON."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


MAX_VALUES = 500_000
"""Commas, and brackets, that a body may have: reading more would hold up everybody else."""
MAX_FIELDS = 256
"""Fields of the outermost object; no request has as many, and each unknown one costs an error."""
LARGE = 64 * 1024
"""Bytes from which on a caller has to be known before its body is read."""


class BodyLimit:
    """Answers 413 to bodies over ``max_body`` bytes, announced or streamed; sets the depth JSON may have.

    A route, router or ``include_router`` may state its own ``max_body_size``. FastAPI's app-wide setting
    does the same but answers in plain text, from outside all other middleware.
    """

    def __init__(self, app: ASGIApp, max_body: int, max_depth: int = DEFAULT_DEPTH) -> None:
        self._app = app
        self._max_body = max_body
        self._max_depth = max_depth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope[_MAX_DEPTH_KEY] = self._max_depth
            await _Responder(self._app, self._max_body)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Responder(RequestBodyLimitResponder):
    async def send_with_limit(self, message: Message) -> None:
        # The handler of the exception has put the 413 into a problem already; the base would replace it.
        await self.send(message)


class StrictJSONRoute(APIRoute):
    """A route whose JSON body is read by ``parse_json``; use as ``APIRouter(route_class=StrictJSONRoute)``."""

    def get_route_handler(self) -> Handler:
        """Return FastAPI's handler behind our reading of the body."""
        handler = super().get_route_handler()
        if self.body_field is None or isinstance(self.body_field.field_info, params.Form):
            return handler

        async def strict(request: Request) -> Response:
            admit = request.scope.get("state", {}).get("admit")
            if admit is not None and _large(request):
                await admit(request)  # nobody's megabytes are read before it is known who sends them
            body = await request.body()
            if body:
                _require_json(request.headers.get("content-type", ""))
                request = _ParsedRequest(request.scope, request.receive)
                request.set(body, parse_json(body, request.scope.get(_MAX_DEPTH_KEY, DEFAULT_DEPTH)))
            return await handler(request)

        return strict


class _ParsedRequest(Request):
    """A request whose body has been read. FastAPI calls ``body`` and ``json``."""

    def set(self, body: bytes, value: Any) -> None:
        self._body = body
        self._value = value

    async def json(self) -> Any:
        return self._value


def parse_json(body: bytes, max_depth: int) -> Any:
    """Read a JSON document strictly (RFC 8259).

    NaN, Infinity, numbers beyond a double, invalid UTF-8 and lone surrogates are no JSON; of equal names
    in an object the last counts. Raises ``MalformedJson``, also for nesting beyond ``max_depth``, and
    ``Invalid`` for the character NUL, which no database text column takes (R9).
    """
    if body.count(b",") > MAX_VALUES or body.count(b"[") + body.count(b"{") > MAX_VALUES:
        msg = f"The body has more than {MAX_VALUES} values."
        raise MalformedJson(msg)
    _check_depth(body, max_depth)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        msg = f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise MalformedJson(msg) from None
    if isinstance(value, dict) and len(value) > MAX_FIELDS:
        msg = f"The body has more than {MAX_FIELDS} fields."
        raise MalformedJson(msg)
    if b"\\u0000" in body:
        _refuse_nul(value)
    return value


def _large(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return not length.isdigit() or int(length) > LARGE


def _require_json(content_type: str) -> None:
    essence = content_type.partition(";")[0].strip().lower()
    if essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json")):
        return
    shown = f"not {essence[:60]!r}" if essence else "and says nothing"
    msg = f"The body has to be sent as Content-Type: application/json, {shown}."
    raise UnsupportedMediaType(msg, headers={"Accept": "application/json"})


def _check_depth(body: bytes, max_depth: int) -> None:
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    brackets = _STRING.sub(b"", body).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(max_depth):  # each round takes away the innermost pairs
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    # Pairs that are left lie too deep. Without any, what is left is ``]]…[[``: closed or opened too often.
    if b"[]" in brackets or brackets.count(b"[") > max_depth:
        msg = f"The body is nested more than {max_depth} levels deep."
        raise MalformedJson(msg)


def _refuse_nul(value: Any) -> None:
    fields = [join(path) for path, text in strings(value) if "\0" in text][:_MAX_REPORTED]
    if fields:
        shown = [field.replace("\0", "\\u0000") for field in fields]
        msg = f"{shown[0]}: text must not contain the character NUL (\\u0000)"
        raise Invalid(msg, errors=[FieldError(field, "must not contain NUL (\\u0000)") for field in shown])
