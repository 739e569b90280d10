"""Limits that a key has of its own (LIM-2, AUTH-3)."""

from __future__ import annotations

import pytest

from neurogrid.auth.policy import Tier
from tests.support.gateway import RunningGateway, Start
from tests.support.keys import made
from tests.support.limits import GENEROUS

pytestmark = pytest.mark.asyncio


async def test_a_key_has_limits_of_its_own(start: Start) -> None:
    """LIM-2: a key's own requests and tasks are counted besides the user's; the smaller holds, and the answer names it."""
    grid: RunningGateway = await start()
    ada = await grid.account()
    key = await made(ada, limits={"requests_per_hour": 6, "tasks_per_hour": 2})
    assert key["limits"] == {"requests_per_minute": None, "requests_per_hour": 6, "tasks_per_hour": 2}
    client, task = await grid.client(key["key"]), {"model": "debug.echo", "input": 1}
    first = await client.post("/v1/tasks", json=task)
    assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("2", "1")
    assert '"key_requests";q=6;w=3600, "key_tasks";q=2;w=3600' in first.headers["ratelimit-policy"]
    assert (await client.post("/v1/tasks", json={"model": "nobody's", "input": 1})).status_code == 422
    bulk = (await client.post("/v1/tasks/bulk", json={"tasks": [task] * 3})).json()
    assert (bulk["accepted"], bulk["refused"]) == (1, 2)
    refused = await client.post("/v1/tasks", json=task)
    assert (refused.status_code, refused.headers["x-ratelimit-tier"]) == (429, "pro")
    assert "2 task submissions with this API key an hour" in refused.json()["detail"]
    answers = [await client.get("/v1/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "6 requests with this API key an hour" in answers[-1].json()["detail"]
    assert (await ada.http.post("/v1/tasks", json=task)).status_code == 202


async def test_limits_of_a_key_hold_beside_no_tier_and_under_a_smaller_one(start: Start) -> None:
    """LIM-2: a key of an unlimited user is limited all the same; a key never gets more than the tier."""
    pro = GENEROUS.pro.model_copy(update={"requests": "3/hour"})
    grid: RunningGateway = await start(limits=GENEROUS.model_copy(update={"pro": pro}))
    root, ada = await grid.account(tier=Tier.UNLIMITED), await grid.account()
    few = await grid.client((await made(root, limits={"requests_per_minute": 2}))["key"])
    assert [(await few.get("/v1/models")).status_code for _ in range(3)] == [200, 200, 429]
    many = await grid.client((await made(ada, limits={"requests_per_minute": 1000}))["key"])
    assert [(await many.get("/v1/models")).status_code for _ in range(3)] == [200, 200, 429]


async def test_limits_of_a_key_are_changed_and_cannot_be_shed(start: Start) -> None:
    """AUTH-3: new limits hold at once; by itself a key gets no more, neither by others that it makes nor by exchange."""
    grid: RunningGateway = await start()
    ada = await grid.account()
    key = await made(ada, limits={"requests_per_hour": 4})
    client, path = await grid.client(key["key"]), f"/v1/keys/{key['id']}"
    more = await client.patch(path, json={"limits": {"requests_per_hour": 5}})
    assert (more.status_code, more.json()["code"]) == (403, "not_granted")
    other = (await client.post("/v1/keys", json={"name": "k", "limits": {"tasks_per_hour": 9}})).json()
    assert other["limits"] == {"requests_per_minute": None, "requests_per_hour": 4, "tasks_per_hour": 9}
    successor = (await ada.http.post(f"{path}/rotate")).json()
    assert successor["limits"] == key["limits"]
    heirs = [await grid.client(each["key"]) for each in (other, successor)]
    assert [(await heir.get("/v1/models")).status_code for heir in (*heirs, *heirs)] == [200, 200, 429, 429]
    path = f"/v1/keys/{successor['id']}"
    assert (await ada.http.patch(path, json={"limits": {}})).json()["limits"] is None
    assert (await heirs[1].get("/v1/models")).status_code == 200
    for wrong in ({"limits": {"requests_per_hour": 0}}, {"limits": {"requests": 3}}, {}, {"limits": None}):
        assert (await ada.http.patch(path, json=wrong)).status_code == 422, wrong
    eve = await grid.account()
    assert (await eve.http.patch(path, json={"limits": {}})).status_code == 404
