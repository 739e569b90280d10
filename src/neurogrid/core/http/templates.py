"""From a path to the template of its route, and the methods it takes, by a tree of path segments."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

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

    def methods(self, path: str) -> list[str]:
        """Return the methods that ``path`` takes, sorted; of several templates those of the most literal count."""
        return next((sorted(templates) for templates in _leaves(self._root, path.split("/"))), [])

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
