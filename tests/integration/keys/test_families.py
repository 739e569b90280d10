"""Keys that make and change keys: none gets, gives or leaves behind more than it has (AUTH-3)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from neurogrid.auth.tables import ApiKey, AuditEntry
from neurogrid.core.ids import now
from tests.support.gateway import Account, RunningGateway

pytestmark = pytest.mark.asyncio

AUDIT = select(AuditEntry.target).where(AuditEntry.action == "key.revoked")


async def make(http: httpx.AsyncClient, **fields: Any) -> Any:
    """Make a key and return the answer."""
    answer = await http.post("/v1/keys", json={"name": "k", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def limit(http: httpx.AsyncClient, key: Any, **limits: int) -> tuple[int, Any]:
    """Change the limits of a key; return the status, and what it has then or why not."""
    answer = await http.patch(f"/v1/keys/{key['id']}", json={"limits": limits})
    return answer.status_code, answer.json().get("limits" if answer.is_success else "code")


def hourly(requests: int | None, tasks: int | None = None) -> dict[str, int | None]:
    return {"requests_per_minute": None, "requests_per_hour": requests, "tasks_per_hour": tasks}


async def test_a_key_changes_none_that_has_more(sqlite_grid: RunningGateway) -> None:
    """Fewer scopes, networks or limits than another key has are too few to change it, its own limits among them."""
    ada = await sqlite_grid.account()
    limited = await make(ada.http, limits={"requests_per_hour": 500})
    weak: list[dict[str, Any]] = [
        {"scopes": ["keys:write"]},
        {"allowed_networks": ["127.0.0.0/8", "::1"]},
        {"limits": {"requests_per_hour": 400}},
    ]
    keys = [await make(ada.http, **fields) for fields in weak]
    for fields, key in zip(weak, keys, strict=True):
        http = await sqlite_grid.client(key["key"])
        for limits in ({}, {"requests_per_hour": 1}):
            assert await limit(http, limited, **limits) == (403, "not_granted"), fields
    key, http = keys[-1], await sqlite_grid.client(keys[-1]["key"])
    assert await limit(http, key) == await limit(http, key, requests_per_hour=500) == (403, "not_granted")
    assert await limit(http, key, requests_per_hour=300) == (200, hourly(300))
    assert (await ada.http.get(f"/v1/keys/{limited['id']}")).json()["limits"] == hourly(500)


async def test_limits_reach_what_a_key_made(grid: RunningGateway, ada: Account) -> None:
    """Keys have the smaller of their limits and their makers', share them, and lose none by an exchange of the maker."""
    parent = await make(ada.http)
    child = await make(await grid.client(parent["key"]), limits={"tasks_per_hour": 9})
    grandchild = await make(await grid.client(child["key"]))
    assert [child["made_by"], grandchild["made_by"]] == [parent["id"], child["id"]]
    assert await limit(ada.http, parent, requests_per_hour=3) == (200, hourly(3))
    shown = [(await ada.http.get(f"/v1/keys/{key['id']}")).json()["limits"] for key in (child, grandchild)]
    assert shown == [hourly(3, 9)] * 2
    clients = [await grid.client(key["key"]) for key in (parent, child, grandchild)]
    assert [(await http.get("/v1/models")).status_code for http in clients] == [200] * 3
    assert [(await http.get("/v1/models")).status_code for http in clients] == [429] * 3
    assert await limit(ada.http, child) == (200, hourly(3)), "no more than its maker"
    successor = (await ada.http.post(f"/v1/keys/{parent['id']}/rotate")).json()
    assert (await limit(ada.http, parent, requests_per_hour=2))[0] == 200, "it goes on for a while"
    assert (await limit(ada.http, successor, requests_per_hour=1))[0] == 200
    kept = (await ada.http.get(f"/v1/keys/{grandchild['id']}")).json()
    assert kept["limits"] == hourly(1, 9), "what its maker got back it gets only by itself"
    kept = (await ada.http.get(f"/v1/keys/{child['id']}")).json()
    assert (kept["limits"], kept["made_by"]) == (hourly(1), successor["id"])


async def test_a_revoked_key_leaves_none_behind(grid: RunningGateway, ada: Account) -> None:
    """What it made ends with it, also what is made at the same moment; its successor and other keys hold on."""
    parent = await make(ada.http)
    maker = await grid.client(parent["key"])
    child = await make(maker)
    grandchild = await make(await grid.client(child["key"]))
    successor = (await ada.http.post(f"/v1/keys/{parent['id']}/rotate")).json()
    assert (await ada.http.delete(f"/v1/keys/{parent['id']}")).status_code == 204
    clients = [await grid.client(key["key"]) for key in (child, grandchild, successor)]
    assert [(await http.get("/v1/models")).status_code for http in clients] == [200] * 3
    late, ended = await asyncio.gather(
        clients[2].post("/v1/keys", json={"name": "late"}), ada.http.delete(f"/v1/keys/{successor['id']}")
    )
    assert ended.status_code == 204
    if late.status_code == 201:
        clients.append(await grid.client(late.json()["key"]))
    assert [(await http.get("/v1/models")).status_code for http in clients] == [401] * len(clients)
    assert (await ada.http.get("/v1/models")).status_code == 200
    noted = await grid.database.all(AUDIT)
    assert {row["target"] for row in noted} >= {key["id"] for key in (parent, child, grandchild, successor)}


async def test_a_key_believed_for_seconds_makes_none(sqlite_grid: RunningGateway) -> None:
    """A gateway that has not heard yet that a key was revoked or limited gives away nothing for it."""
    ada = await sqlite_grid.account()
    parent = await make(ada.http)
    http = await sqlite_grid.client(parent["key"])
    assert (await http.get("/v1/keys")).status_code == 200
    async with sqlite_grid.database.transaction() as transaction:
        await transaction.execute(update(ApiKey).where(ApiKey.id == parent["id"]).values(requests_per_hour=7))
    assert (await make(http))["limits"] == hourly(7)
    async with sqlite_grid.database.transaction() as transaction:
        await transaction.execute(update(ApiKey).where(ApiKey.id == parent["id"]).values(revoked_at=now()))
    assert (await http.post("/v1/keys", json={"name": "k"})).status_code == 401
