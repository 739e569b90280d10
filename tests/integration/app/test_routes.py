"""Deny by default: a walk over every route of the application (design law 7)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute, RouteContext, iter_route_contexts
from starlette.routing import Mount, Route

from neurogrid.app import create_app
from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import PERMISSIONS, Proof, Role
from tests.support.gateway import RunningGateway, settings_for
from tests.support.routes import OPEN

AUTHENTICATE_THEMSELVES = {"/v1/ws", "/v1/nodes/connect"}


@pytest.fixture
def app() -> FastAPI:
    """The application, not started."""
    return create_app(settings_for("sqlite+aiosqlite:///nowhere.db"))


def permissions(dependant: Dependant | None) -> Iterator[permitted]:
    """Yield what a route demands, however deep it is said."""
    if dependant is None:
        return
    if isinstance(dependant.call, permitted):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from permissions(inner)


def guarded(app: FastAPI) -> list[RouteContext]:
    """Return the routes that are not on the list of open ones."""
    return [
        route
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute) and route.path not in OPEN
    ]


def test_every_route_names_a_permission(app: FastAPI) -> None:
    """A route is on the short list of open ones, or names the permission it needs; nothing else exists."""
    for route in iter_route_contexts(app.routes):
        path, kind = route.path, route.original_route
        if path in OPEN:
            assert isinstance(kind, Route | Mount), path
        elif path in AUTHENTICATE_THEMSELVES:
            assert isinstance(kind, APIWebSocketRoute), path
        else:
            assert isinstance(kind, APIRoute), f"{path} is of a kind that cannot name a permission"
            assert list(permissions(route.dependant)), f"{path} names no permission"
    assert len(guarded(app)) >= 12, "the walk finds the routes"
    exempt = {*OPEN, *AUTHENTICATE_THEMSELVES}
    assert exempt <= {route.path for route in iter_route_contexts(app.routes)}, (
        "no exemption outlives its route"
    )
    assert all(OPEN.values()), "each exemption has its reason"


def test_every_permission_is_somebodys(app: FastAPI) -> None:
    """What a route asks for, an administrator has."""
    asked = {each.permission for route in guarded(app) for each in permissions(route.dependant)}
    assert asked == PERMISSIONS[Role.ADMIN]


def operations(app: FastAPI) -> Iterator[tuple[str, str, RouteContext]]:
    for route in guarded(app):
        for method in route.methods or ():
            yield method, re.sub(r"{[^}]*}", "0190b0f0-0000-7000-8000-000000000000", route.path or ""), route


@pytest.mark.asyncio
async def test_every_guarded_route_answers_401(sqlite_grid: RunningGateway) -> None:
    """Without a key every route answers 401 with a challenge, before it looks at anything else."""
    client = await sqlite_grid.client()
    for method, path, _ in operations(sqlite_grid.app):
        answer = await client.request(
            method, path, json={"nonsense": 1} if method in {"POST", "PUT"} else None
        )
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.asyncio
@pytest.mark.parametrize("role", list(Role))
async def test_roles_reach_what_they_may(sqlite_grid: RunningGateway, role: Role) -> None:
    """Each role is refused with 403 exactly what its permissions leave out."""
    account = await sqlite_grid.account(role)
    for method, path, route in operations(sqlite_grid.app):
        asked = list(permissions(route.dependant))
        may = all(each.permission in PERMISSIONS[role] for each in asked)
        if any(each.proof in {Proof.SIGNED_IN, Proof.OWNER} for each in asked):
            may = False  # whatever the role: it comes by API key
        answer = await account.http.request(method, path, json={} if method in {"POST", "PUT"} else None)
        assert (answer.status_code == httpx.codes.FORBIDDEN) is not may, (role, method, path, answer.text)


def test_users_are_kept_from_operation() -> None:
    """The lines between the roles are drawn where the design draws them."""
    users, operators = PERMISSIONS[Role.USER], PERMISSIONS[Role.OPERATOR]
    assert {permission.value for permission in users} == {
        "tasks:read",
        "tasks:write",
        "models:read",
        "account:read",
        "account:write",
        "keys:read",
        "keys:write",
        "usage:read",
    }
    assert {permission.value for permission in operators - users} == {
        "nodes:read",
        "nodes:write",
        "monitoring:read",
    }
    assert {permission.value for permission in PERMISSIONS[Role.ADMIN] - operators} == {
        "announcements:write",
        "audit:read",
        "users:read",
        "users:write",
    }
