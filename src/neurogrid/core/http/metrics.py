"""HTTP metrics: prometheus-fastapi-instrumentator, with a quicker way from a path to its template.

The instrumentator compares each request with one route after the other, before the router does so again; with a
hundred routes that is a quarter of what a read costs. A tree of path segments knows the template at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp

ANY_METHOD = ""
"""Of WebSocket routes."""


class _Segment:
    __slots__ = ("literal", "templates", "variable")

    def __init__(self) -> None:
        self.literal: dict[str, _Segment] = {}
        self.variable: _Segment | None = None
        self.templates: dict[str, str] = {}
        """By method."""


class Templates:
    """The path templates of routes, found as the router finds them: literals before variables."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._root = _Segment()
        for router in routers:
            for route in iter_route_contexts(router.routes):
                if route.path is not None:
                    self._add(route.path, route.methods or {ANY_METHOD})

    def find(self, method: str, path: str) -> str | None:
        """Return the template of ``path``, by preference of a route for ``method``; ``None`` if there is none."""
        found = list(_leaves(self._root, path.split("/")))
        for templates in found:
            if method in templates:
                return templates[method]
        return next(iter(found[0].values())) if found else None

    def _add(self, path: str, methods: Iterable[str]) -> None:
        segment = self._root
        for name in path.split("/"):
            if name.startswith("{"):
                segment.variable = segment.variable or _Segment()
                segment = segment.variable
            else:
                segment = segment.literal.setdefault(name, _Segment())
        for method in methods:
            segment.templates.setdefault(method, path)


def _leaves(segment: _Segment, names: list[str]) -> Iterable[dict[str, str]]:
    if not names:
        if segment.templates:
            yield segment.templates
        return
    name, *rest = names
    if (literal := segment.literal.get(name)) is not None:
        yield from _leaves(literal, rest)
    if segment.variable is not None and name:
        yield from _leaves(segment.variable, rest)


class Metrics(PrometheusInstrumentatorMiddleware):
    """The instrumentator's middleware; what is in no router, such as pages and files, it looks up its own way."""

    def __init__(self, app: ASGIApp, *, templates: Templates, **options: Any) -> None:
        super().__init__(app, **options)
        self._templates = templates

    def _get_handler(self, request: Request) -> tuple[str, bool]:
        scope = request.scope
        template = self._templates.find(scope["method"], scope["path"])
        return super()._get_handler(request) if template is None else (template, True)


def install(app: FastAPI, templates: Templates) -> None:
    """Measure the requests of ``app``, and show the figures on ``/metrics``."""
    instrumentator = Instrumentator(should_ignore_untemplated=True).instrument(app)
    instrumentator.expose(app, include_in_schema=False)
    added = app.user_middleware[0]
    app.user_middleware[0] = Middleware(
        cast("Any", Metrics), *added.args, templates=templates, **added.kwargs
    )
