"""Idempotent and bulk submission."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.gateway import Account, RunningGateway

pytestmark = pytest.mark.asyncio

BODY = {"model": "debug.echo", "input": "once", "metadata": {"a": "1"}}


async def post(account: Account, key: str, body: dict[str, Any], **headers: str) -> Any:
    """Submit under an idempotency key."""
    return await account.http.post("/v1/tasks", json=body, headers={"Idempotency-Key": key, **headers})


async def test_a_key_stands_for_one_task(ada: Account, eve: Account) -> None:
    """R19: the same key and body give the same task; another body is refused; another owner is not concerned."""
    first, second = await post(ada, "k", BODY), await post(ada, "k", BODY)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    other = await post(ada, "k", {**BODY, "input": "twice"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert (await post(eve, "k", BODY)).json()["id"] != first.json()["id"]
    listed = (await ada.http.get("/v1/tasks")).json()["data"]
    assert [task["id"] for task in listed] == [first.json()["id"]]


async def test_a_hundred_at_once_make_one_task(ada: Account) -> None:
    """R19: requests with one key that come in the same moment make one task, and all are told of it."""
    answers = await asyncio.gather(*(post(ada, "same", BODY) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await ada.http.get("/v1/tasks")).json()["data"]) == 1


async def test_waiting_again_gets_the_result_of_then(ada: Account) -> None:
    """R19: a request repeated with `Prefer: wait` waits for the task its key stands for."""
    first = await post(ada, "w", BODY, Prefer="wait=20")
    again = await post(ada, "w", BODY, Prefer="wait=20")
    assert (first.status_code, again.status_code) == (200, 200)
    assert (again.json()["id"], again.json()["output"]) == (first.json()["id"], "once")


async def test_a_deleted_task_leaves_its_key(ada: Account) -> None:
    """R19: the key of a task that was deleted does not make another one by surprise."""
    task = (await post(ada, "d", BODY)).json()["id"]
    await ada.reaches(task, "completed")
    await ada.http.delete(f"/v1/tasks/{task}")
    assert (await post(ada, "d", BODY)).status_code == 409


@pytest.mark.parametrize("key", ["", "x" * 256, "two words"])
async def test_bad_keys_are_named(sqlite_grid: RunningGateway, key: str) -> None:
    """A key that cannot be kept is refused by the name of its header."""
    account = await sqlite_grid.account()
    answer = await post(account, key, BODY)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


async def test_bulk_rows_stand_for_themselves(ada: Account) -> None:
    """Each task of a bulk is accepted or refused by itself, in its place; without a priority it is low."""
    rows = [
        {"model": "debug.echo", "input": 1},
        {"model": "nothing", "input": 2},
        {"model": "debug.echo", "input": 3, "colour": "red"},
        "no task",
        {"model": "debug.echo", "input": 5, "priority": "normal"},
    ]
    answer = await ada.http.post("/v1/tasks/bulk", json={"tasks": rows})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["refused"]) == (2, 3)
    assert [row["status"] for row in body["data"]] == [
        "accepted",
        "refused",
        "refused",
        "refused",
        "accepted",
    ]
    assert [row["error"]["code"] for row in body["data"][1:4]] == ["unknown_model", "invalid", "invalid"]
    assert body["data"][2]["error"]["errors"][0]["field"] == "colour"
    assert [body["data"][place]["task"]["priority"] for place in (0, 4)] == ["low", "normal"]
    for place, output in ((0, 1), (4, 5)):
        task = await ada.reaches(body["data"][place]["task"]["id"], "completed")
        assert task["output"] == output


async def test_a_thousand_in_one_request(ada: Account) -> None:
    """A bulk of a thousand is accepted and runs; one more is refused, and so is none."""
    rows = [{"model": "debug.echo", "input": number} for number in range(1000)]
    body = (await ada.http.post("/v1/tasks/bulk", json={"tasks": rows}, timeout=60)).json()
    assert (body["accepted"], len({row["task"]["id"] for row in body["data"]})) == (1000, 1000)
    await ada.reaches(body["data"][-1]["task"]["id"], "completed")
    for tasks in ([], [*rows, rows[0]]):
        answer = await ada.http.post("/v1/tasks/bulk", json={"tasks": tasks})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "tasks")
