"""What counts as a task, and what does not (LIM-1)."""

from __future__ import annotations

import asyncio

import pytest

from neurogrid.auth.policy import Tier
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.limits import TASK, few, submit

pytestmark = pytest.mark.asyncio


async def test_what_makes_no_task_does_not_count_as_one(start: Start) -> None:
    """LIM-1: invalid submissions, and repetitions by idempotency key, take nothing from the tasks of an hour."""
    gateway: RunningGateway = await start(limits=few(tasks="2/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    for _ in range(3):
        assert (await ada.http.post("/v1/tasks", json={"model": "nobody's", "input": 1})).status_code == 422
    for _ in range(3):
        assert (await submit(ada, **{"Idempotency-Key": "one"})).status_code == 202
    assert (await submit(ada)).status_code == 202
    assert (await submit(ada)).status_code == 429


async def test_each_row_of_a_bulk_counts(start: Start) -> None:
    """LIM-1: a bulk gets as many tasks as there are left, the other rows are refused one by one; then all of it is."""
    gateway: RunningGateway = await start(limits=few(tasks="10/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    bulk = {"tasks": [{"model": 7}, *[TASK] * 6]}
    assert (await ada.http.post("/v1/tasks/bulk", json=bulk)).json()["accepted"] == 6
    answer = await ada.http.post("/v1/tasks/bulk", json={"tasks": [TASK] * 7})
    rows = answer.json()["data"]
    assert [row["status"] for row in rows] == ["accepted"] * 4 + ["refused"] * 3
    assert {row["error"]["code"] for row in rows[4:]} == {"rate_limited"}
    assert answer.headers["ratelimit-remaining"] == "0"
    assert (await ada.http.post("/v1/tasks/bulk", json={"tasks": [TASK]})).status_code == 429
    assert (await submit(ada)).status_code == 429
    assert len((await ada.http.get("/v1/tasks", params={"limit": 100})).json()["data"]) == 10


async def test_a_repeated_bulk_takes_nothing_more(start: Start) -> None:
    """LIM-1: a bulk that is repeated by its idempotency key makes nothing, and counts as nothing."""
    gateway: RunningGateway = await start(limits=few(tasks="10/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    for _ in range(4):
        answer = await ada.http.post(
            "/v1/tasks/bulk", json={"tasks": [TASK] * 4}, headers={"Idempotency-Key": "b"}
        )
        assert answer.json()["accepted"] == 4
    assert [(await submit(ada)).status_code for _ in range(7)] == [202] * 6 + [429]


async def test_a_repeated_request_is_answered_though_no_task_is_left(start: Start) -> None:
    """LIM-1, R19: a known key is answered as the first time, within the limit of requests; an unknown one is refused."""
    gateway: RunningGateway = await start(limits=few(tasks="3/hour", requests="10/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    bulk = {"tasks": [TASK] * 2}
    first, many = (
        await submit(ada, **{"Idempotency-Key": "k"}),
        await ada.http.post("/v1/tasks/bulk", json=bulk, headers={"Idempotency-Key": "b"}),
    )
    assert (first.status_code, many.json()["accepted"]) == (202, 2)
    for headers in ({}, {"Idempotency-Key": "fresh"}):
        answer = await submit(ada, **headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert "3 task submissions an hour" in answer.json()["detail"]
    again = await submit(ada, **{"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert (again.headers["idempotency-replayed"], again.headers["ratelimit-remaining"]) == ("true", "0")
    other = {**TASK, "input": "other"}
    answer = await ada.http.post("/v1/tasks", json=other, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    answer = await ada.http.post("/v1/tasks/bulk", json=bulk, headers={"Idempotency-Key": "b"})
    assert [row["task"]["id"] for row in answer.json()["data"]] == [
        row["task"]["id"] for row in many.json()["data"]
    ]
    for body in (bulk, {"tasks": [TASK]}):  # what was refused leaves its key free
        answer = await ada.http.post("/v1/tasks/bulk", json=body, headers={"Idempotency-Key": "fresh"})
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert len((await ada.http.get("/v1/tasks")).json()["data"]) == 3
    assert (await submit(ada, **{"Idempotency-Key": "k"})).status_code == 202
    answer = await submit(ada, **{"Idempotency-Key": "k"})
    assert (answer.status_code, "10 requests an hour" in answer.json()["detail"]) == (429, True)


async def test_one_fresh_key_at_once_makes_and_costs_one_task(start: Start) -> None:
    """LIM-3, R19: of ten posts at once with one key one makes a task; what the others took is given back."""
    gateway: RunningGateway = await start(limits=few(tasks="3/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    answers = await asyncio.gather(*(submit(ada, **{"Idempotency-Key": "k"}) for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {202, 429}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    keys = [{"Idempotency-Key": f"{number}"} for number in range(4)]
    statuses = [answer.status_code for answer in [await submit(ada, **key) for key in keys]]
    assert statuses == [202, 202, 429, 429]


async def failing(account: Account, count: int) -> list[str]:
    """Return as many dead letters."""
    ids = [await account.submit("debug.fail", {"message": "no"}, max_attempts=1) for _ in range(count)]
    for id in ids:
        await account.reaches(id, "failed")
    return ids


async def test_each_replayed_task_counts(start: Start) -> None:
    """LIM-1: as many dead letters run again as the user and the key may have tasks; the others are refused one by one."""
    gateway: RunningGateway = await start(limits=few(tasks="7/hour"))
    ada, pro = await gateway.account(tier=Tier.FREE), await gateway.account()
    path, everything = "/v1/tasks/dead-letters/replay", {"all": True}
    dead = await failing(ada, 4)
    answer = await ada.http.post(path, json=everything)
    assert answer.json()["replayed"] == dead[:3]
    assert [(row["id"], row["code"]) for row in answer.json()["refused"]] == [(dead[3], "rate_limited")]
    assert answer.headers["ratelimit-remaining"] == "0"
    for refused in (
        await ada.http.post(path, json={"ids": [dead[3]]}),
        await ada.http.post(f"/v1/tasks/{dead[3]}/retry", headers={"Idempotency-Key": "k"}),
        await submit(ada),
    ):
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert (await ada.task(dead[3]))["attempt"] == 1

    dead = await failing(pro, 3)
    key = await pro.http.post("/v1/keys", json={"name": "k", "limits": {"tasks_per_hour": 1}})
    client = await gateway.client(key.json()["key"])
    answer = await client.post(path, json=everything)
    assert (answer.json()["replayed"], len(answer.json()["refused"])) == (dead[:1], 2)
    assert (await client.post(path, json={"ids": dead[1:]})).status_code == 429
    assert (await pro.http.post(path, json={"ids": dead[1:]})).json()["replayed"] == dead[1:]


async def test_a_replay_of_nothing_takes_nothing(start: Start) -> None:
    """LIM-1: what replays no task counts as a request alone; of others only what is replayed counts."""
    gateway: RunningGateway = await start(limits=few(tasks="4/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    path, done = "/v1/tasks/dead-letters/replay", await ada.submit("debug.echo")
    await ada.reaches(done, "completed")
    for body in ({"all": True}, {"ids": [done, "nobody's"]}):
        answer = await ada.http.post(path, json=body)
        assert (answer.status_code, answer.json()["replayed"]) == (200, [])
    dead = await failing(ada, 1)
    assert (await ada.http.post(path, json={"ids": [done, *dead, "nobody's"]})).json()["replayed"] == dead
    assert [(await submit(ada)).status_code for _ in range(2)] == [202, 429]
