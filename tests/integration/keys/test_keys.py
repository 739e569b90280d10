"""API keys over HTTP: made, narrowed, exchanged and revoked (AUTH-3)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from websockets.asyncio.client import connect

from neurogrid.auth.policy import Permission, Role
from neurogrid.auth.tables import ApiKey, User
from neurogrid.core.ids import new_id, now
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.keys import CREATED, holds, made
from tests.support.until import PATIENCE

pytestmark = pytest.mark.asyncio


async def test_a_key_is_shown_once_and_kept_hashed(grid: RunningGateway, ada: Account) -> None:
    """The answer has the key; no list, no row, and no repeated look has it again."""
    answer = await ada.http.post("/v1/keys", json={"name": "laptop"})
    key = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (CREATED, f"/v1/keys/{key['id']}")
    assert key["key"].startswith(key["prefix"])
    assert len(key["key"]) == 41
    assert await holds(grid, key["key"]) == 200
    listed = await ada.http.get("/v1/keys")
    shown = {name: value for name, value in key.items() if name != "key"}
    assert listed.json()["data"][0] == shown
    assert (await ada.http.get(f"/v1/keys/{key['id']}")).json() == shown
    rows = await grid.database.all(ApiKey.__table__.select())
    assert key["key"] not in repr(rows) + listed.text


async def test_a_key_does_what_it_was_made_for(grid: RunningGateway, ada: Account) -> None:
    """Scopes narrow what the role may, on every route; what is left out is 403 and says so."""
    key = await made(ada, scopes=["tasks:read"])
    client = await grid.client(key["key"])
    assert key["scopes"] == ["tasks:read"]
    assert (await client.get("/v1/tasks")).status_code == 200
    refused = await client.post("/v1/tasks", json={"model": "debug.echo", "input": 1})
    assert (refused.status_code, "not made for" in refused.json()["detail"]) == (403, True)
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("GET", "/v1/auth/me"),
    ):
        assert (await client.request(method, path, json=None)).status_code == 403, path


async def test_nobody_gives_away_what_they_do_not_have(grid: RunningGateway, ada: Account) -> None:
    """A user cannot make an operator's key; a role taken away is gone from the keys that named its permissions."""
    refused = await ada.http.post("/v1/keys", json={"name": "k", "scopes": ["tasks:read", "nodes:write"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_granted")
    operator = await grid.account(Role.OPERATOR)
    key = await made(operator, scopes=["nodes:read"])
    assert await holds(grid, key["key"], "/v1/nodes") == 200
    async with grid.database.transaction() as transaction:
        await transaction.execute(update(User).where(User.id == operator.id).values(role="user"))
    assert not (await grid.auth.identify(key["key"])).may(Permission.NODES_READ)


async def test_a_key_makes_no_stronger_key(grid: RunningGateway, ada: Account) -> None:
    """What a key makes has no more permissions, networks and time than itself, however it is asked."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    weak = await made(
        ada,
        scopes=["keys:write", "tasks:read"],
        allowed_networks=["127.0.0.0/8"],
        expires_at=ends.isoformat(),
    )
    http = await grid.client(weak["key"])
    for more in (
        {"scopes": ["tasks:write"]},
        {"allowed_networks": ["0.0.0.0/0"]},
        {"allowed_networks": ["::/0"]},
    ):
        assert (await http.post("/v1/keys", json={"name": "k", **more})).status_code == 403, more
    for asked in ({}, {"expires_in_s": 1e6}, {"scopes": ["tasks:read"], "allowed_networks": ["127.0.0.1"]}):
        child = (await http.post("/v1/keys", json={"name": "k", **asked})).json()
        assert set(child["scopes"]) <= set(weak["scopes"])
        assert child["allowed_networks"] in (["127.0.0.0/8"], ["127.0.0.1/32"])
        assert datetime.fromisoformat(child["expires_at"]) <= ends
    strong = await made(ada)
    assert (await http.post(f"/v1/keys/{strong['id']}/rotate")).status_code == 403
    own = (await http.post(f"/v1/keys/{weak['id']}/rotate")).json()
    assert (own["scopes"], own["allowed_networks"]) == (weak["scopes"], weak["allowed_networks"])
    assert datetime.fromisoformat(own["expires_at"]) <= ends


async def test_a_key_only_from_its_networks(grid: RunningGateway, ada: Account) -> None:
    """A key with networks is refused from elsewhere, over HTTP and over the WebSocket, and not taken for wrong."""
    here = await made(ada, allowed_networks=["127.0.0.1", "2001:db8::/32"])
    elsewhere = await made(ada, allowed_networks=["192.0.2.0/24"])
    assert await holds(grid, here["key"]) == 200
    client = await grid.client(elsewhere["key"])
    refused = await client.get("/v1/tasks", headers={"X-Forwarded-For": "192.0.2.7"})
    assert (refused.status_code, refused.json()["code"]) == (403, "address_not_allowed")
    headers = {"Authorization": f"Bearer {elsewhere['key']}"}
    async with connect(
        grid.url.replace("http", "ws") + "/v1/ws", additional_headers=headers, proxy=None
    ) as socket:
        assert "welcome" in str(await socket.recv())
        async with asyncio.timeout(PATIENCE):
            await socket.wait_closed()
        assert socket.close_code == 4403


async def test_a_key_ends_when_it_was_made_to(grid: RunningGateway, ada: Account) -> None:
    """A key past its end is worth nothing, also where it was believed a moment ago."""
    key = await made(ada, expires_in_s=2.0)
    assert await holds(grid, key["key"]) == 200
    await asyncio.sleep(2.1)
    assert await holds(grid, key["key"]) == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "k", "scopes": []},
        {"name": "k", "scopes": ["everything"]},
        {"name": "k", "allowed_networks": []},
        {"name": "k", "allowed_networks": ["10.0.0.1/8"]},
        {"name": "k", "allowed_networks": ["localhost"]},
        {"name": "k", "expires_in_s": -1},
        {"name": "k", "expires_in_s": True},
        {"name": "k", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "k", "expires_at": "9999-12-31T23:59:59-12:00"},
        {"name": "k", "expires_at": "2099-01-01T00:00:00Z", "expires_in_s": 5},
        {"name": "k", "user_id": "0190b0f0-0000-7000-8000-000000000000"},
        {"name": "k", "role": "admin"},
        {"name": "k", "key": "ng_mine"},
    ],
    ids=str,
)
async def test_what_cannot_be_a_key(sqlite_grid: RunningGateway, body: dict[str, Any]) -> None:
    """What makes no sense, and fields that are not the client's to say, are 422."""
    account = await sqlite_grid.account()
    answer = await account.http.post("/v1/keys", json=body)
    assert (answer.status_code, bool(answer.json()["errors"])) == (422, True), answer.text


async def test_rotation_overlaps(grid: RunningGateway, ada: Account) -> None:
    """Both keys hold for a day by default; the new one may do the same; the old one is exchanged once."""
    old = await made(ada, scopes=["tasks:read"], allowed_networks=["127.0.0.1/32"])
    answers = await asyncio.gather(*(ada.http.post(f"/v1/keys/{old['id']}/rotate") for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [CREATED, 409, 409]
    new = next(answer.json() for answer in answers if answer.status_code == CREATED)
    same = ("name", "scopes", "allowed_networks", "expires_at")
    assert [new[name] for name in same] == [old[name] for name in same]
    before = (await ada.http.get(f"/v1/keys/{old['id']}")).json()
    assert before["successor"] == new["id"]
    left = datetime.fromisoformat(before["expires_at"]) - now()
    assert timedelta(hours=23) < left <= timedelta(days=1)
    assert {await holds(grid, old["key"]), await holds(grid, new["key"])} == {200}


async def test_rotation_without_overlap(grid: RunningGateway, ada: Account) -> None:
    """With no overlap the old key ends with the answer, here at once; the new one lasts as long as the old was made to."""
    old = await made(ada, expires_in_s=3600)
    assert await holds(grid, old["key"]) == 200
    new = (await ada.http.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 0})).json()
    assert await holds(grid, old["key"]) == 401
    assert await holds(grid, new["key"]) == 200
    life = datetime.fromisoformat(new["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert abs(life.total_seconds() - 3600) < 5
    assert (await ada.http.post(f"/v1/keys/{new['id']}/rotate", json={"overlap_s": -1})).status_code == 422


async def test_revocation(grid: RunningGateway, ada: Account) -> None:
    """A revoked key is worth nothing at once; doing it again changes nothing; it stays in the list."""
    key = await made(ada)
    assert await holds(grid, key["key"]) == 200
    assert (await ada.http.delete(f"/v1/keys/{key['id']}")).status_code == 204
    assert await holds(grid, key["key"]) == 401
    first = (await ada.http.get(f"/v1/keys/{key['id']}")).json()["revoked_at"]
    assert (await ada.http.delete(f"/v1/keys/{key['id']}")).status_code == 204
    assert (await ada.http.get(f"/v1/keys/{key['id']}")).json()["revoked_at"] == first
    assert (await ada.http.post(f"/v1/keys/{key['id']}/rotate")).status_code == 409
    for unknown in (new_id(), "x", "%00"):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
            answer = await ada.http.request(method, f"/v1/keys/{unknown}{path}")
            assert answer.status_code == 404, (method, unknown)


async def test_a_repeated_request_makes_one_key(grid: RunningGateway, ada: Account) -> None:
    """With an Idempotency-Key the same credential reads the same key again; another one does not."""
    headers = {"Idempotency-Key": new_id()}
    first = await ada.http.post("/v1/keys", json={"name": "k"}, headers=headers)
    again = await ada.http.post("/v1/keys", json={"name": "k"}, headers=headers)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    other = await grid.client((await made(ada))["key"])
    assert (await other.post("/v1/keys", json={"name": "k"}, headers=headers)).status_code == 409
    kept = await grid.database.all(ApiKey.__table__.select())
    assert len(kept) == 3, "the account's, the one, and the other"


async def test_last_use_is_written_in_batches(grid: RunningGateway, ada: Account) -> None:
    """Uses are noted off the request's way, all of a while in one transaction."""
    keys = [await made(ada) for _ in range(3)]
    for key in keys[:2]:
        assert await holds(grid, key["key"]) == 200
    shown = {each["id"]: each["last_used_at"] for each in (await ada.http.get("/v1/keys")).json()["data"]}
    assert [shown[key["id"]] for key in keys] == [None, None, None]
    await grid.auth.identify(keys[0]["key"])
    await grid.auth.identify(keys[1]["key"])
    await grid.auth.note_uses()
    shown = {each["id"]: each["last_used_at"] for each in (await ada.http.get("/v1/keys")).json()["data"]}
    assert [shown[key["id"]] is not None for key in keys] == [True, True, False]


async def test_a_list_in_pages(grid: RunningGateway, ada: Account, eve: Account) -> None:
    """Pages follow one another without gap or repetition, the newest first, and hold one's own keys alone."""
    ids = [(await made(ada, name=str(number)))["id"] for number in range(5)]
    await made(eve)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (
            await ada.http.get("/v1/keys", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [each["id"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert seen[:5] == ids[::-1]
    assert len(seen) == 6
    for bad in ("x", "!!!!", "bm90IGFuIGlk", "\u00e9"):
        assert (await ada.http.get("/v1/keys", params={"cursor": bad})).status_code == 400


async def test_no_more_keys_than_allowed(start: Start) -> None:
    """One more than the setting is refused, of many at once too; a revoked one makes room."""
    grid = await start(auth={"max_keys": 3})
    ada = await grid.account()
    answers = await asyncio.gather(*(ada.http.post("/v1/keys", json={"name": "k"}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [CREATED, CREATED, 409, 409, 409]
    one = next(answer.json() for answer in answers if answer.status_code == CREATED)
    await ada.http.delete(f"/v1/keys/{one['id']}")
    assert (await ada.http.post("/v1/keys", json={"name": "k"})).status_code == httpx.codes.CREATED
