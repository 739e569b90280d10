"""Sensitive acts ask again who somebody is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import update

from neurogrid.app import create_app
from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import Permission, Proof, Role, Tier
from neurogrid.auth.tables import AuthSession
from neurogrid.core.ids import new_id, now
from tests.support.door import OTHER, PASSWORD, Door, Person
from tests.support.gateway import settings_for
from tests.support.phone import Time, with_phone

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

ENDS = ("DELETE", "/v1/auth/sessions")
SENSITIVE = {
    ("POST", "/v1/auth/password"): Proof.OWNER,
    ("POST", "/v1/auth/2fa/totp"): Proof.OWNER,
    ("POST", "/v1/auth/2fa/totp/confirm"): Proof.OWNER,
    ("DELETE", "/v1/auth/2fa/totp"): Proof.OWNER,
    ("POST", "/v1/auth/2fa/recovery-codes"): Proof.OWNER,
    ("POST", "/v1/auth/passkeys/options"): Proof.OWNER,
    ("POST", "/v1/auth/passkeys"): Proof.OWNER,
    ("DELETE", "/v1/auth/passkeys/{id}"): Proof.OWNER,
    ENDS: Proof.SIGNED_IN,
    ("DELETE", "/v1/auth/sessions/{session_id}"): Proof.SIGNED_IN,
    ("POST", "/v1/auth/step-up"): Proof.SIGNED_IN,
    ("POST", "/v1/auth/step-up/options"): Proof.SIGNED_IN,
    ("POST", "/v1/auth/oauth/identities"): Proof.OWNER,
    ("DELETE", "/v1/auth/oauth/identities/{id}"): Proof.OWNER,
    ("POST", "/v1/auth/oauth/{provider}/link"): Proof.OWNER,
    ("POST", "/v1/keys"): Proof.RECENT,
    ("POST", "/v1/keys/{id}/rotate"): Proof.RECENT,
    ("POST", "/v1/nodes/tokens"): Proof.RECENT,
    ("POST", "/v1/admin/users/{id}/lock"): Proof.RECENT,
    ("POST", "/v1/admin/users/{id}/unlock"): Proof.RECENT,
    ("DELETE", "/v1/admin/users/{id}/second-factor"): Proof.OWNER,
}
"""Whatever makes a credential, changes one, or takes from others what is theirs."""
ROLES = ("PATCH", "/v1/admin/users/{id}", {"role": "user"})
"""Asks for it within, since a tier alone takes none."""


def proofs(dependant: Dependant | None) -> Iterator[Proof]:
    if dependant is None:
        return
    if isinstance(dependant.call, permitted) and dependant.call.proof is not Proof.NONE:
        yield dependant.call.proof
    for inner in dependant.dependencies:
        yield from proofs(inner)


async def long_ago(door: Door) -> None:
    """Let it be longer ago that anybody showed who they are."""
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(
            update(AuthSession).values(authenticated_at=now() - timedelta(minutes=10, seconds=1))
        )


async def administrator(door: Door) -> tuple[Person, str, str]:
    """Return an administrator with an access token and an API key."""
    email = f"{new_id()}@example.org"
    await door.grid.auth.create_user(email, Role.ADMIN, Tier.PRO, PASSWORD)
    key = await door.grid.auth.create_key(email, "test")
    person = Person(door, email)
    return person, (await person.tokens())["access_token"], key


async def ask(door: Door, method: str, path: str, token: str, body: Any = None) -> tuple[int, str, str]:
    """Return status, code and detail of the answer."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = await door.http.request(method, re.sub("{[^}]*}", new_id(), path), json=body, headers=headers)
    said = answer.json() if answer.content else {}
    return answer.status_code, said.get("code", ""), said.get("detail", "")


async def test_sensitive_acts(door: Door) -> None:
    """Each asks a session for a recent proof and says how to give it; keys may only what makes them no stronger."""
    found = {
        (method, route.path): proof
        for route in iter_route_contexts(create_app(settings_for("sqlite+aiosqlite:///x.db")).routes)
        if isinstance(route.original_route, APIRoute)
        for proof in proofs(route.dependant)
        for method in route.methods or ()
    }
    assert found == SENSITIVE
    _, access, key = await administrator(door)
    await long_ago(door)
    others = {act: proof for act, proof in SENSITIVE.items() if act != ENDS}
    acts = [(*act, None, proof) for act, proof in others.items()] + [(*ROLES, Proof.OWNER)]
    assert (await ask(door, *ENDS, key))[:2] == (403, "session_required")
    for method, path, body, proof in acts:
        status, code, detail = await ask(door, method, path, access, body)
        wanted = proof is not Proof.SIGNED_IN
        assert ((status, code) == (403, "step_up_required")) is wanted, (method, path, status, code)
        assert not wanted or "/v1/auth/step-up with your `password`" in detail
        status, code, _ = await ask(door, method, path, key, body)
        refused = (status, code) == (403, "session_required")
        assert refused is (proof is not Proof.RECENT), (method, path, status, code)
        assert code != "step_up_required"
    assert (await door.post("step-up", access, password=PASSWORD)).json() == {"expires_in": 600}
    for method, path, body, _ in acts:
        _, code, _ = await ask(door, method, path, access, body)
        assert code != "step_up_required", (method, path)


async def test_a_tier_takes_no_proof(door: Door) -> None:
    """Programs may change tiers by key; a role is not theirs to give, even next to a tier."""
    _, _, key = await administrator(door)
    bob = await door.grid.account()
    path = f"/v1/admin/users/{bob.id}"
    assert (await ask(door, "PATCH", path, key, {"tier": "free"}))[0] == 200
    assert (await ask(door, "PATCH", path, key, {"tier": "pro", "role": "admin"}))[1] == "session_required"
    assert (await bob.http.get("/v1/auth/me")).json()["role"] == "user"


async def test_programs_administer_by_keys(door: Door) -> None:
    """An administrator's key makes node tokens, and gives tiers and quotas, where it was made for that."""
    person, _, key = await administrator(door)
    narrow = await door.grid.auth.create_key(
        person.email, "narrow", scopes=frozenset({Permission.NODES_READ})
    )
    bob = await door.grid.account()
    for method, path, body, done in (
        ("POST", "/v1/nodes/tokens", {"name": "lab"}, 201),
        ("PATCH", f"/v1/admin/users/{bob.id}", {"tier": "free"}, 200),
        ("PUT", f"/v1/admin/users/{bob.id}/quota", {"tasks": 5}, 200),
    ):
        assert (await ask(door, method, path, key, body))[0] == done, path
        assert (await ask(door, method, path, narrow, body))[:2] == (403, "forbidden"), path


async def test_more_for_a_key_takes_a_proof(door: Door) -> None:
    """A session of long ago limits a key further, and gives it more only with a proof."""
    ada = await door.register()
    access = (await ada.tokens())["access_token"]
    headers = {"Authorization": f"Bearer {access}"}
    body = {"name": "k", "limits": {"requests_per_hour": 5}}
    path = f"/v1/keys/{(await door.http.post('/v1/keys', json=body, headers=headers)).json()['id']}"
    await long_ago(door)
    fewer, more = {"requests_per_hour": 3}, {"requests_per_hour": 3, "tasks_per_hour": 1}

    async def limit(limits: dict[str, int]) -> tuple[int, str]:
        answer = await door.http.patch(path, json={"limits": limits}, headers=headers)
        return answer.status_code, answer.json().get("code", "")

    assert await limit(fewer) == await limit(more) == (200, "")
    for limits in ({}, {"requests_per_hour": 3}, {"requests_per_hour": 4, "tasks_per_hour": 1}):
        assert await limit(limits) == (403, "step_up_required")
    await door.post("step-up", access, password=PASSWORD)
    assert await limit({}) == (200, "")


async def test_what_proves(door: Door, time: Time) -> None:
    """The password without a second factor, the factor with one; for the session that shows it, and no other."""
    ada = await door.register()
    first, other = [(await ada.tokens())["access_token"] for _ in range(2)]
    await long_ago(door)
    assert (await door.post("step-up", first, password=OTHER)).json()["code"] == "wrong_credentials"
    assert (await door.post("step-up", first, code="123456")).json()["code"] == "wrong_code"
    for body in ({}, {"password": PASSWORD, "code": "123456"}, {"password": None}):
        assert (await door.post("step-up", first, **body)).status_code == 422
    assert (await door.post("step-up", first, password=PASSWORD)).status_code == 200
    name = {"name": "k"}
    assert (await ask(door, "POST", "/v1/keys", first, name))[0] == 201
    assert (await ask(door, "POST", "/v1/keys", other, name))[1] == "step_up_required"
    phone = await with_phone(time, door, first)
    assert (await ask(door, "POST", "/v1/keys", first, name))[0] == 201, "confirming the app was a proof"
    await long_ago(door)
    refused = await door.post("step-up", first, password=PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (403, "step_up_required")
    assert "`code` or a passkey" in refused.json()["detail"]
    assert (await ask(door, "DELETE", "/v1/auth/2fa/totp", first))[1] == "step_up_required"
    assert (await door.post("step-up", first, code=phone.fresh())).status_code == 200
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(AuthSession).values(methods="password", authenticated_at=now()))
    assert (await ask(door, "DELETE", "/v1/auth/2fa/totp", first))[1] == "step_up_required", (
        "a session that never showed the factor, however fresh"
    )
    assert (await door.post("step-up", first, code=phone.codes[0])).status_code == 200
    assert (await ask(door, "DELETE", "/v1/auth/2fa/totp", first))[0] == 204


async def test_proofs_cannot_be_guessed(door: Door, time: Time) -> None:
    """Wrong ones are counted together with those of signing in, and the next have to wait."""
    ada = await door.register()
    access = (await ada.tokens())["access_token"]
    wrong = [(await door.post("step-up", access, password=OTHER)).status_code for _ in range(6)]
    assert (wrong[0], wrong[-1]) == (401, 429)
    assert (await door.post("step-up", access, password=PASSWORD)).status_code == 429
    assert (await ada.sign_in()).status_code == 429
    eve = await door.register()
    access = (await eve.tokens())["access_token"]
    phone = await with_phone(time, door, access)
    for _ in range(5):
        assert (await door.post("step-up", access, code="000000")).status_code == 401
    assert (await door.post("step-up", access, code=phone.fresh())).status_code == 429


async def test_lost_factors(door: Door, time: Time) -> None:
    """An administrator takes them away from who lost them; the owner is told, and signs in by password."""
    _, access, _ = await administrator(door)
    ada = await door.register()
    of_ada = (await ada.tokens())["access_token"]
    await with_phone(time, door, of_ada)
    id = (await door.get("/v1/auth/me", of_ada)).json()["id"]
    path = f"/v1/admin/users/{id}/second-factor"
    assert (await ask(door, "DELETE", path, access))[0] == 204
    assert (await ask(door, "DELETE", path, access))[1] == "no_second_factor"
    assert (await ask(door, "DELETE", "/v1/admin/users/{id}/second-factor", access))[0] == 404
    await door.mailed(ada.email, "was removed")
    assert (await ada.sign_in()).status_code == 200
