"""The layers around every request, pure ASGI: request id, access line and last resort, body limit."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurogrid.core.db import is_away
from neurogrid.core.http.addresses import AddressGate
from neurogrid.core.http.body import BodyLimit
from neurogrid.core.http.problems import cut_off, database_away, internal_error
from neurogrid.core.ids import new_id
from neurogrid.core.settings import TaskSettings
from neurogrid.core.settings_access import AccessSettings

REQUEST_ID_HEADER = "X-Request-ID"
QUIET_PATHS = ("/health", "/metrics")
"""Asked every few seconds by machines: their access lines are for debugging only."""

_SANE_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")

log = structlog.get_logger(__name__)


def install(app: FastAPI, settings: TaskSettings, access: AccessSettings | None = None) -> None:
    """Put the layers around ``app``, the outermost last."""
    app.add_middleware(BodyLimit, max_body=settings.max_body, max_depth=settings.max_depth)
    if access is not None and any(access.model_dump().values()):
        app.add_middleware(AddressGate, settings=access)
    app.add_middleware(AccessLog)
    app.add_middleware(
        CorrelationIdMiddleware,
        header_name=REQUEST_ID_HEADER,
        generator=new_id,
        validator=is_sane_request_id,
        transformer=None,
    )


def is_sane_request_id(text: str) -> bool:
    """Tell whether a caller's request id may go into logs and onto the answer as it is."""
    return _SANE_ID.fullmatch(text) is not None


class AccessLog:
    """Writes one line per request and answers what no exception handler knew with a plain 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        structlog.contextvars.bind_contextvars(request_id=correlation_id.get())
        if scope["type"] != "http":
            await self._serve_socket(scope, receive, send)
            return
        exchange = _Exchange(send)
        try:
            await self._app(scope, receive, exchange.send)
        except Exception as error:  # the edge: beyond it a client would get no problem and no request id
            if exchange.status:
                raise  # too late for an answer; the server logs it and cuts the connection
            if is_away(error):
                log.warning("database.away", method=scope["method"], path=scope["path"], error=repr(error))
                await database_away()(scope, receive, exchange.send)
                return
            log.exception("request_failed", method=scope["method"], path=scope["path"])
            await internal_error()(scope, receive, exchange.send)
        except asyncio.CancelledError:  # the server stops and waits no longer; by itself it would answer 500
            if exchange.status:
                raise
            await cut_off()(scope, receive, exchange.send)
        finally:
            exchange.write_line(scope)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # the server closes what was left open; clients and nodes come again
            if not is_away(error):
                raise
            log.warning("database.away", path=scope["path"], error=repr(error))


class _Exchange:
    """Watches one answer go by."""

    __slots__ = ("_forward", "_size", "_started", "status")

    def __init__(self, forward: Send) -> None:
        self._forward = forward
        self._started = time.perf_counter()
        self._size = 0
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
        elif message["type"] == "http.response.start":
            self.status = message["status"]
        await self._forward(message)

    def write_line(self, scope: Scope) -> None:
        path: str = scope["path"]
        client: tuple[str, Any] | None = scope.get("client")
        write = log.debug if path.startswith(QUIET_PATHS) else log.info
        write(
            "request",
            method=scope["method"],
            path=path,
            status=self.status or None,
            duration_ms=round((time.perf_counter() - self._started) * 1000, 2),
            bytes=self._size,
            client=client[0] if client else None,
        )
