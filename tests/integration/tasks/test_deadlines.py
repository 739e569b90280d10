"""Deadlines at submission: those that cannot be kept are refused, with one that could be (GRID-12)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from neurogrid.auth.policy import Role
from neurogrid.queue.tables import Task
from neurogrid.tasks.forecast import ENOUGH_HISTORY
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.node import Puppet
from tests.support.until import until

pytestmark = pytest.mark.asyncio

SECONDS = 1000.0
"""How long the runs of the past took; so long that no deadline passes while a test runs."""
QUEUED = 12
PASSED = "2020-01-01T00:00:00Z"


def in_(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def post(account: Account, key: str | None = None, **fields: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"model": "puppet", "input": 1, **fields}
    return await account.http.post("/v1/tasks", json=body, headers=headers)


async def past(grid: RunningGateway, runs: int = ENOUGH_HISTORY) -> None:
    """Give the puppet runs that took ``SECONDS`` each, and its slots back."""
    account = await grid.account()
    grid.puppet.go.set()
    tasks = [{"model": "puppet", "input": f"run {number}"} for number in range(runs)]
    rows = (await account.http.post("/v1/tasks/bulk", json={"tasks": tasks})).json()["data"]
    for row in rows:
        await account.reaches(row["task"]["id"], "completed")
    grid.puppet.go.clear()
    began = datetime(2026, 1, 1, tzinfo=UTC)
    async with grid.database.transaction() as transaction:
        ended = began + timedelta(seconds=SECONDS)
        await transaction.execute(update(Task).values(started_at=began, finished_at=ended))


async def backlog(grid: RunningGateway, account: Account) -> None:
    """Fill the slots of the puppet, and queue some more behind them."""
    tasks = [{"model": "puppet", "input": 1, "priority": "normal"}] * (grid.puppet.spec.slots + QUEUED)
    assert (await account.http.post("/v1/tasks/bulk", json={"tasks": tasks})).json()["refused"] == 0

    async def full() -> bool:
        listed = await account.http.get("/v1/tasks", params={"status": "running"})
        return len(listed.json()["data"]) == grid.puppet.spec.slots

    await until(full, what="every slot is taken")


def feasible(problem: Any) -> str:
    """Return the deadline that a refusal proposes."""
    assert (problem["status"], problem["code"]) == (422, "deadline_infeasible")
    assert [error["field"] for error in problem["errors"]] == ["deadline"]
    found = re.search(r"Set the deadline to (\S+) or later", problem["detail"])
    assert found is not None, problem["detail"]
    return found[1]


async def test_no_run_is_that_short(sqlite_grid: RunningGateway) -> None:
    """Where no run was ever done in the time that is left, the task is refused, and nothing is submitted."""
    grid, ada = sqlite_grid, await sqlite_grid.account()
    await past(grid)
    refused = await post(ada, deadline=in_(SECONDS / 4))
    assert refused.headers["content-type"] == "application/problem+json"
    proposed = feasible(refused.json())
    assert (await ada.http.get("/v1/tasks")).json()["data"] == []
    assert (await post(ada, deadline=proposed)).status_code == 202
    assert (await post(ada)).status_code == 202


async def test_a_queue_that_is_too_long(grid: RunningGateway, ada: Account) -> None:
    """What is ahead counts: refused is what would be late even if all took half as long, and no more than that."""
    await past(grid)
    await backlog(grid, ada)
    quoted = (await ada.http.post("/v1/tasks/quote", json={"model": "puppet", "input": 1})).json()
    begins = quoted["expected_start"]["p50_seconds"]
    assert begins == pytest.approx((QUEUED + 0.5) * SECONDS / grid.puppet.spec.slots)
    proposed = feasible((await post(ada, deadline=in_(0.4 * begins))).json())
    assert datetime.fromisoformat(proposed) > datetime.now(UTC) + timedelta(seconds=begins)
    assert (await post(ada, deadline=in_(0.8 * begins))).status_code == 202
    assert (await post(ada, deadline=proposed)).status_code == 202


async def test_the_share_of_others_is_not_waited_for(
    grid: RunningGateway, ada: Account, eve: Account
) -> None:
    """A deadline is judged by the place that the task would really have: a crowd's tasks go after its share."""
    await past(grid)
    await backlog(grid, ada)
    deadline = in_(2 * SECONDS)
    assert (await post(ada, deadline=deadline)).status_code == 422
    assert (await post(eve, deadline=deadline)).status_code == 202


async def test_work_under_way_is_not_begun_again(start: Start) -> None:
    """R20: who asks for what is being done already gets it when it is done, which may well be in time."""
    grid = await start(puppet=Puppet(slots=2, deterministic=True))
    ada, eve = await grid.account(), await grid.account()
    await past(grid)
    assert (await post(ada)).json()["status"] == "running"
    near = in_(SECONDS / 4)
    assert (await post(ada, deadline=near)).status_code == 202
    assert (await post(ada, deadline=near, input=2)).status_code == 422
    assert (await post(eve, deadline=near)).status_code == 422


async def test_what_cannot_be_known_is_not_refused(sqlite_grid: RunningGateway) -> None:
    """Without enough history, or without a node that might come, nobody can say that a deadline is too near."""
    grid, ada = sqlite_grid, await sqlite_grid.account()
    await past(grid, ENOUGH_HISTORY - 1)
    assert (await post(ada, deadline=in_(SECONDS / 4))).status_code == 202
    assert (await post(ada, deadline=in_(SECONDS / 4), model="debug.echo")).status_code == 202
    await past(grid, 2)
    assert (await post(ada, deadline=in_(SECONDS / 4), requires={"gpu": "true"})).status_code == 202
    operator = await grid.account(Role.OPERATOR)
    (node,) = (await operator.http.get("/v1/nodes")).json()["data"]
    await operator.http.post(f"/v1/nodes/{node['id']}/cordon")
    assert (await post(await grid.account(), deadline=in_(SECONDS / 4))).status_code == 202


async def test_a_passed_deadline_is_refused_everywhere(sqlite_grid: RunningGateway) -> None:
    """A deadline in the past is named, alone, in a bulk and in a quote, whatever is known of the model."""
    ada = await sqlite_grid.account()
    task = {"model": "puppet", "input": 1, "deadline": PASSED}
    for path in ("/v1/tasks", "/v1/tasks/quote"):
        answer = await ada.http.post(path, json=task)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "deadline")
    bulk = (await ada.http.post("/v1/tasks/bulk", json={"tasks": [task, {**task, "deadline": None}]})).json()
    assert [row["status"] for row in bulk["data"]] == ["refused", "accepted"]
    assert bulk["data"][0]["error"]["errors"][0]["field"] == "deadline"


async def test_a_quote_tells_what_would_be_refused(sqlite_grid: RunningGateway) -> None:
    """A quote with a deadline says whether it would do, and which one would, beside the figures."""
    grid, ada = sqlite_grid, await sqlite_grid.account()
    await past(grid)
    body = {"model": "puppet", "input": 1, "deadline": in_(SECONDS / 4)}
    refused = (await ada.http.post("/v1/tasks/quote", json=body)).json()
    assert (refused["valid"], refused["position"]) == (False, 0)
    assert "Set the deadline to" in refused["detail"]
    fine = (await ada.http.post("/v1/tasks/quote", json={**body, "deadline": in_(10 * SECONDS)})).json()
    assert fine["valid"]


async def test_a_key_comes_before_its_deadline(grid: RunningGateway, ada: Account) -> None:
    """R19: the key comes first. A request that would be refused by now gets the task of then."""
    body = {"deadline": in_(SECONDS / 4)}
    first = await post(ada, "k", **body)
    assert first.status_code == 202
    await past(grid)
    assert (await post(ada, "fresh", **body)).status_code == 422
    again = await post(ada, "k", **body)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    other = await post(ada, "k", **body, input=2)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_a_key_is_answered_after_its_time(sqlite_grid: RunningGateway) -> None:
    """R19: the same where the deadline has passed altogether."""
    ada = await sqlite_grid.account()
    deadline = datetime.now(UTC) + timedelta(seconds=3)
    body = {"model": "debug.echo", "deadline": deadline.isoformat()}
    first = await post(ada, "k", **body)
    assert first.status_code == 202
    await until(lambda: datetime.now(UTC) > deadline)
    again = await post(ada, "k", **body)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert (await post(ada, "fresh", **body)).status_code == 422


async def test_a_key_is_answered_when_nothing_more_is_taken(start: Start) -> None:
    """R19: who may submit nothing more still gets the answer of then."""
    grid = await start(tasks={"max_queued": 1})
    ada = await grid.account()
    first = await post(ada, "k")
    assert (await post(ada)).status_code == 429
    again = await post(ada, "k")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
