"""Ids of others open nothing: every route that takes an id, for every kind of thing, tried by who does not own it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from neurogrid.app import create_app
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.tables import OAuthIdentity, Passkey
from neurogrid.core.ids import new_id, now
from tests.support.door import PASSWORD, SECRET
from tests.support.gateway import Account, RunningGateway, running, settings_for

SAME = ("type", "title", "status", "detail", "code", "errors")

OWNED = {
    "/v1/tasks/{": "task",
    "/v1/keys/{": "key",
    "/v1/auth/sessions/{": "session",
    "/v1/auth/passkeys/{": "passkey",
    "/v1/auth/oauth/identities/{": "identity",
}
"""Things of users: somebody else's is 404, whatever one's role, and looks like one that never was."""
OPERATED = ("/v1/nodes/{", "/v1/nodes/tokens/{", "/v1/admin/users/{")
"""Things of the grid: whoever may not operate or administer is 403 before the id is looked at."""
_NAME = "a name out of the settings, which is the same for everybody"
PUBLIC = {
    "/v1/models/{name}": "a name out of the catalogue, which is the same for everybody",
    "/v1/auth/oauth/{provider}/start": _NAME,
    "/v1/auth/oauth/{provider}/callback": _NAME,
    "/v1/auth/oauth/{provider}/link": _NAME,
}
BODIES = {
    ("PATCH", "/v1/admin/users/{id}"): {"tier": "unlimited"},
    ("PUT", "/v1/admin/users/{id}/quota"): {"tasks": -1},
    ("PATCH", "/v1/keys/{id}"): {"limits": {"tasks_per_hour": 1}},
    ("PATCH", "/v1/auth/passkeys/{id}"): {"name": "eve's"},
}


def with_ids() -> Iterator[tuple[str, str]]:
    """Yield method and path of every route of the application that takes something in its path."""
    app = create_app(settings_for("sqlite+aiosqlite:///nowhere.db"))
    for route in iter_route_contexts(app.routes):
        path = route.path or ""
        if isinstance(route.original_route, APIRoute) and "{" in path and path not in PUBLIC:
            for method in route.methods or ():
                yield method, path


ROUTES = sorted(with_ids())


def kind_of(path: str) -> str | None:
    return next((kind for start, kind in OWNED.items() if path.startswith(start)), None)


def test_the_matrix_is_whole() -> None:
    """Each route with an id is about something of a user's or of the grid's; a new one has to be put into the matrix."""
    unknown = [path for _, path in ROUTES if kind_of(path) is None and not path.startswith(OPERATED)]
    assert unknown == []
    assert len(ROUTES) >= 20
    assert {kind_of(path) for _, path in ROUTES} == {*OWNED.values(), None}


async def a_task(ada: Account) -> str:
    return await ada.submit("puppet")


async def a_key(ada: Account) -> str:
    id: str = (await ada.http.post("/v1/keys", json={"name": "k"})).json()["id"]
    return id


async def a_session(ada: Account) -> str:
    body = {"email": ada.email, "password": PASSWORD}
    id: str = (await ada.http.post("/v1/auth/token", json=body)).json()["session_id"]
    return id


async def a_passkey(grid: RunningGateway, ada: Account) -> str:
    id = new_id()
    async with grid.database.transaction() as transaction:
        transaction.add(
            Passkey(
                id=id, user_id=ada.id, credential_id=b"ada's", public_key=b"", sign_count=0, name="ada's",
                transports="", aaguid="", backed_up=False, created_at=now(), last_used_at=None,
            )
        )  # fmt: skip
    return id


async def an_identity(grid: RunningGateway, ada: Account) -> str:
    id = new_id()
    async with grid.database.transaction() as transaction:
        transaction.add(
            OAuthIdentity(
                id=id, user_id=ada.id, provider="google", issuer="https://accounts.google.com", subject="1",
                email=ada.email, created_at=now(), last_used_at=None,
            )
        )  # fmt: skip
    return id


MAKE: dict[str, Callable[[Account], Awaitable[str]]] = {"task": a_task, "key": a_key, "session": a_session}


@pytest.mark.asyncio
@pytest.mark.parametrize("role", list(Role))
async def test_what_is_somebody_elses_is_not_there(database_url: str, role: Role) -> None:
    """Of every route and every role: 404, word for word as for an id that never was, and nothing has happened."""
    async with running(database_url, secret_key=SECRET) as grid:
        ada, eve = await owner(grid), await owner(grid, role)
        ids = {kind: await make(ada) for kind, make in MAKE.items()}
        ids["passkey"] = await a_passkey(grid, ada)
        ids["identity"] = await an_identity(grid, ada)
        signed_in = {"email": eve.email, "password": PASSWORD}
        token = (await eve.http.post("/v1/auth/token", json=signed_in)).json()["access_token"]
        eve.http.headers["Authorization"] = f"Bearer {token}"  # she may more with it than with a key
        before = await belongings(ada)
        for method, path in ROUTES:
            kind = kind_of(path)
            if kind is None:
                continue
            body = BODIES.get((method, path))
            foreign = await eve.http.request(method, re.sub(r"{[^}]*}", ids[kind], path), json=body)
            absent = await eve.http.request(method, re.sub(r"{[^}]*}", new_id(), path), json=body)
            assert (foreign.status_code, absent.status_code) == (404, 404), (method, path, foreign.text)
            assert [foreign.json()[name] for name in SAME] == [absent.json()[name] for name in SAME]
        assert await belongings(ada) == before


@pytest.mark.asyncio
@pytest.mark.parametrize("role", [Role.USER, Role.OPERATOR])
async def test_what_is_the_grids_takes_the_role(database_url: str, role: Role) -> None:
    """Ids of nodes, their tokens and of users are 403 to whoever may not, existing or not, and nothing has happened."""
    async with running(database_url) as grid:
        admin, eve = await grid.account(Role.ADMIN), await grid.account(role)
        token = (await admin.http.post("/v1/nodes/tokens", json={})).json()["id"]
        node = (await admin.http.get("/v1/nodes")).json()["data"][0]["id"]
        ids = dict(zip(OPERATED, (node, token, admin.id), strict=True))
        for method, path in ROUTES:
            starts = [start for start in OPERATED if path.startswith(start)]
            if not starts or (role is Role.OPERATOR and "/admin/" not in path):
                continue
            body = BODIES.get((method, path))
            for id in (ids[starts[-1]], new_id()):
                answer = await eve.http.request(method, re.sub(r"{[^}]*}", id, path), json=body)
                assert answer.status_code == 403, (method, path, answer.text)
        assert (await admin.http.get("/v1/nodes")).json()["data"][0]["state"] == "active"
        assert (await admin.http.get("/v1/nodes/tokens")).json()["data"][0]["revoked_at"] is None
        assert (await admin.http.get(f"/v1/admin/users/{admin.id}")).json()["tier"] == "pro"


async def owner(grid: RunningGateway, role: Role = Role.USER) -> Account:
    """Make a user with a key and a password."""
    email = f"{new_id()}@example.org"
    user = await grid.auth.create_user(email, role, Tier.PRO, PASSWORD)
    key = await grid.auth.create_key(email, "test")
    return Account(user, email, key, await grid.client(key))


async def belongings(ada: Account) -> list[object]:
    """Return all that somebody has, as far as others could change it."""
    tasks = (await ada.http.get("/v1/tasks")).json()["data"]
    keys = (await ada.http.get("/v1/keys")).json()["data"]
    passkeys = (await ada.http.get("/v1/auth/passkeys")).json()["data"]
    identities = (await ada.http.get("/v1/auth/oauth/identities")).json()["data"]
    sessions = (await ada.http.get("/v1/auth/sessions")).json()["data"]
    return [
        [(each["id"], each["status"] in {"queued", "running"}) for each in tasks],
        [(each["id"], each["revoked_at"], each["successor"]) for each in keys],
        [each["id"] for each in sessions],
        passkeys,
        identities,
    ]
