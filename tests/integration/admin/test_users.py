"""Administrators look after accounts (AUTH-7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from neurogrid.auth.policy import Role, Tier
from neurogrid.core.ids import new_id
from tests.support.door import PASSWORD
from tests.support.gateway import Account, RunningGateway

pytestmark = pytest.mark.asyncio


async def signed_in(grid: RunningGateway) -> Account:
    """Return an administrator who came by password: roles are not given by API key."""
    email = f"{new_id()}@example.org"
    id = await grid.auth.create_user(email, Role.ADMIN, Tier.PRO, PASSWORD)
    http = await grid.client()
    answer = await http.post("/v1/auth/token", json={"email": email, "password": PASSWORD})
    token = answer.json()["access_token"]
    return Account(id, email, token, await grid.client(token))


async def test_role_and_tier_hold_at_once(grid: RunningGateway) -> None:
    """A role given or taken changes what the same key may, here at once, and is in the audit log with before and after."""
    admin, bob = await signed_in(grid), await grid.account()
    assert (await bob.http.get("/v1/nodes")).status_code == 403
    changed = await admin.http.patch(
        f"/v1/admin/users/{bob.id}", json={"role": "operator", "tier": "enterprise"}
    )
    assert (changed.status_code, changed.json()["role"], changed.json()["tier"]) == (
        200,
        "operator",
        "enterprise",
    )
    assert (await bob.http.get("/v1/nodes")).status_code == 200
    assert (await admin.http.patch(f"/v1/admin/users/{bob.id}", json={"role": "user"})).status_code == 200
    assert (await bob.http.get("/v1/nodes")).status_code == 403
    log = (await admin.http.get("/v1/admin/audit", params={"target": bob.id, "action": "user.*"})).json()[
        "data"
    ]
    assert [(each["action"], each["details"]) for each in log[:3]] == [
        ("user.role_changed", {"before": "operator", "after": "user"}),
        ("user.tier_changed", {"before": "pro", "after": "enterprise"}),
        ("user.role_changed", {"before": "user", "after": "operator"}),
    ]
    assert {each["actor"] for each in log[:3]} == {admin.id}


async def test_a_locked_user_is_out(grid: RunningGateway) -> None:
    """Locked, keys do not hold; unlocked, they hold again; doing either twice changes nothing."""
    admin, bob = await grid.account(Role.ADMIN), await grid.account()
    assert (await bob.http.get("/v1/tasks")).status_code == 200
    first = (await admin.http.post(f"/v1/admin/users/{bob.id}/lock")).json()
    assert first["locked_at"] is not None
    assert (await bob.http.get("/v1/tasks")).status_code == 401
    assert (await admin.http.post(f"/v1/admin/users/{bob.id}/lock")).json() == first
    for _ in range(2):
        assert (await admin.http.post(f"/v1/admin/users/{bob.id}/unlock")).json()["locked_at"] is None
    assert (await bob.http.get("/v1/tasks")).status_code == 200
    log = (await admin.http.get("/v1/admin/audit", params={"target": bob.id, "action": "user.*"})).json()[
        "data"
    ]
    assert [each["action"] for each in log[:2]] == ["user.unlocked", "user.locked"]


async def test_an_administrator_remains(grid: RunningGateway) -> None:
    """The last one who can sign in is neither demoted nor locked; two who would end one another do not both."""
    one, two = await signed_in(grid), await signed_in(grid)
    answers = await asyncio.gather(
        one.http.patch(f"/v1/admin/users/{two.id}", json={"role": "user"}),
        two.http.patch(f"/v1/admin/users/{one.id}", json={"role": "user"}),
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409], [200, 401])
    last, other = (one, two) if answers[0].status_code == 200 else (two, one)
    for refused in (
        await last.http.patch(f"/v1/admin/users/{last.id}", json={"role": "operator"}),
        await last.http.post(f"/v1/admin/users/{last.id}/lock"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
    assert (await last.http.patch(f"/v1/admin/users/{last.id}", json={"tier": "free"})).status_code == 200
    assert (await last.http.patch(f"/v1/admin/users/{other.id}", json={"role": "admin"})).status_code == 200
    assert (await last.http.post(f"/v1/admin/users/{other.id}/lock")).status_code == 200
    refused = await last.http.patch(f"/v1/admin/users/{last.id}", json={"role": "user"})
    assert refused.status_code == 409, "a locked administrator is none"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"role": None},
        {"role": "root"},
        {"tier": "gold"},
        {"role": "admin", "email": "eve@example.org"},
        {"role": "admin", "email_verified_at": "2026-01-01T00:00:00Z"},
        {"tier": "pro", "password_hash": "x"},
        {"tier": "pro", "id": "0190b0f0-0000-7000-8000-000000000000"},
        {"tier": "pro", "disabled_at": None},
    ],
    ids=str,
)
async def test_fields_that_are_not_to_be_set(sqlite_grid: RunningGateway, body: dict[str, Any]) -> None:
    """What is no role and no tier is refused as a whole, and nothing of it is done."""
    admin, bob = await sqlite_grid.account(Role.ADMIN), await sqlite_grid.account()
    before = (await admin.http.get(f"/v1/admin/users/{bob.id}")).json()
    assert (await admin.http.patch(f"/v1/admin/users/{bob.id}", json=body)).status_code == 422
    assert (await admin.http.get(f"/v1/admin/users/{bob.id}")).json() == before


@pytest.mark.parametrize("role", [Role.USER, Role.OPERATOR])
async def test_nobody_raises_themselves(sqlite_grid: RunningGateway, role: Role) -> None:
    """Users and operators reach none of it, whatever body or header they send, and stay what they are."""
    eve = await sqlite_grid.account(role)
    headers = {"X-HTTP-Method-Override": "PATCH", "X-Role": "admin", "X-Forwarded-For": "127.0.0.1"}
    for method, path in (
        ("PATCH", f"/v1/admin/users/{eve.id}"),
        ("POST", f"/v1/admin/users/{eve.id}/unlock"),
        ("GET", "/v1/admin/users"),
        ("GET", "/v1/admin/audit"),
    ):
        answer = await eve.http.request(method, path, json={"role": "admin"}, headers=headers)
        assert answer.status_code == 403, (method, path)
    assert (await eve.http.get("/v1/auth/me")).json()["role"] == role.value


async def test_the_list(grid: RunningGateway) -> None:
    """Filtered by role, tier, beginning of the address and lock, in pages; wildcards of SQL are nothing special."""
    admin, bob, carol = [await grid.account(role) for role in (Role.ADMIN, Role.USER, Role.OPERATOR)]
    await admin.http.post(f"/v1/admin/users/{carol.id}/lock")

    async def ids(**wanted: str) -> list[str]:
        answer = await admin.http.get("/v1/admin/users", params=wanted)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["data"]]

    assert await ids() == [carol.id, bob.id, admin.id]
    assert await ids(role="operator") == await ids(locked="true") == [carol.id]
    assert await ids(tier="pro", locked="false") == [bob.id, admin.id]
    assert await ids(tier="free") == []
    assert await ids(email=bob.email[:36].upper()) == [bob.id]
    assert await ids(email="%") == await ids(email="_") == await ids(email="' OR 1=1 --") == []
    page = (await admin.http.get("/v1/admin/users", params={"limit": 2})).json()
    rest = (
        await admin.http.get("/v1/admin/users", params={"limit": 2, "cursor": page["next_cursor"]})
    ).json()
    assert [each["id"] for each in page["data"] + rest["data"]] == [carol.id, bob.id, admin.id]
    assert rest["next_cursor"] is None
    shown = (await admin.http.get(f"/v1/admin/users/{bob.id}")).json()
    assert "hash" not in repr(shown)
    for unknown in (new_id(), "x", "%00"):
        for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/lock"), ("POST", "/unlock")):
            answer = await admin.http.request(
                method,
                f"/v1/admin/users/{unknown}{path}",
                json={"tier": "pro"} if method == "PATCH" else None,
            )
            assert answer.status_code == 404, (method, unknown)
