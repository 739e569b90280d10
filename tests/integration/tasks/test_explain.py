"""Quotes, and explanations in staged cases (GRID-12)."""

from __future__ import annotations

import pytest

from neurogrid.auth.policy import Role
from neurogrid.core.settings_limits import ProLimits
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.limits import GENEROUS
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def explained(account: Account, task: str) -> tuple[str | None, int | None]:
    """Return the reason why a task waits, and how many go first."""
    answer = await account.http.get(f"/v1/tasks/{task}/explain")
    assert answer.status_code == 200
    wait = answer.json()["wait"]
    return (wait["reason"], wait["ahead"]) if wait else (None, None)


async def test_no_node_has_the_labels(ada: Account) -> None:
    """A requirement no node meets is named."""
    task = await ada.submit("debug.echo", requires={"gpu": "true"})
    assert await explained(ada, task) == ("requirement_unmet", 0)
    body = (await ada.http.get(f"/v1/tasks/{task}/explain")).json()
    assert body["expected_start"] is None
    assert [event["type"] for event in body["decisions"]] == ["task.queued"]


async def test_no_node_takes_tasks(grid: RunningGateway, ada: Account) -> None:
    """Where every node is cordoned, no node is the reason."""
    operator = await grid.account(Role.OPERATOR)
    (node,) = (await operator.http.get("/v1/nodes")).json()["data"]
    assert (await operator.http.post(f"/v1/nodes/{node['id']}/cordon")).status_code == 200
    task = await ada.submit("debug.echo")
    assert await explained(ada, task) == ("no_node", 0)


async def test_every_slot_is_taken(grid: RunningGateway, ada: Account, eve: Account) -> None:
    """The next task waits for a slot; those behind it for their turn: for others', or for one's own."""
    del grid
    while (await ada.task(task := await ada.submit("puppet")))["status"] == "running":
        """Fill the slots of the model."""
    first = task
    second = await ada.submit("puppet")
    await eve.submit("puppet")
    third = await eve.submit("puppet")
    assert await explained(ada, first) == ("no_slot", 0)
    assert (await explained(ada, second))[0] == "other_owners"
    assert await explained(eve, third) == ("other_owners", 2)
    quote = (await eve.http.post("/v1/tasks/quote", json={"model": "puppet", "input": 1})).json()
    assert quote["valid"]
    assert quote["position"] >= 2
    assert quote["expected_start"]["p90_seconds"] >= quote["expected_start"]["p50_seconds"] > 0


async def test_other_models_take_the_slots(grid: RunningGateway, ada: Account, eve: Account) -> None:
    """Where tasks of another model hold all the slots of the node, that is the reason; a quote knows it, too."""
    operator = await grid.account(Role.OPERATOR)
    (node,) = (await operator.http.get("/v1/nodes")).json()["data"]
    sleepers = [{"model": "debug.sleep", "input": {"seconds": 600}}] * node["slots"]
    assert (await eve.http.post("/v1/tasks/bulk", json={"tasks": sleepers})).json()["refused"] == 0

    async def full() -> bool:
        busy = (await operator.http.get(f"/v1/nodes/{node['id']}")).json()
        return bool(busy["running"] == node["slots"])

    await until(full)
    task = await ada.submit("debug.echo")
    assert await explained(ada, task) == ("no_slot", 0)
    quote = (await eve.http.post("/v1/tasks/quote", json={"model": "debug.echo", "input": 1})).json()
    assert quote["expected_start"]["p50_seconds"] > 0


async def test_a_pause_after_a_failure_is_named(ada: Account) -> None:
    """A task that waits to be tried again says until when, and what went wrong is among the decisions."""
    task = await ada.submit(
        "debug.fail", {"message": "try later", "times": 1, "retryable": True}, max_attempts=5
    )

    async def paused() -> bool:
        return (await explained(ada, task))[0] == "backoff"

    await until(paused)
    body = (await ada.http.get(f"/v1/tasks/{task}/explain")).json()
    assert body["wait"]["until"] is not None
    assert body["decisions"][-1]["data"]["error"]["message"] == "try later"


async def test_a_finished_task_waits_for_nothing(ada: Account, eve: Account) -> None:
    """A finished task shows its node, attempt, cost and every decision; to its owner alone."""
    task = await ada.submit("debug.echo", "x")
    await ada.reaches(task, "completed")
    body = (await ada.http.get(f"/v1/tasks/{task}/explain")).json()
    assert (body["wait"], body["node"], body["attempt"], body["cached"]) == (None, "node", 1, False)
    assert body["cost"]["usage"]["compute_seconds"] >= 0
    assert [event["type"] for event in body["decisions"]] == ["task.queued", "task.running", "task.completed"]
    assert (await eve.http.get(f"/v1/tasks/{task}/explain")).status_code == 404


async def test_a_quote_is_no_task(ada: Account) -> None:
    """A quote submits nothing, refuses what a submission would refuse, and says when a free slot begins."""
    good = (await ada.http.post("/v1/tasks/quote", json={"model": "debug.echo", "input": 1})).json()
    assert (good["position"], good["expected_start"]["p50_seconds"]) == (0, 0.0)
    bad = await ada.http.post("/v1/tasks/quote", json={"model": "nothing", "input": 1})
    assert (bad.status_code, bad.json()["code"]) == (422, "unknown_model")
    assert (await ada.http.get("/v1/tasks")).json()["data"] == []


async def test_a_tier_that_runs_no_more_at_once_is_named(start: Start) -> None:
    """LIM-3: over their tier's number tasks are accepted and wait, are told why, and go on one by one."""
    grid = await start(
        limits=GENEROUS.model_copy(update={"pro": ProLimits(tasks="", requests="", running=1)})
    )
    ada, eve = await grid.account(), await grid.account()
    tasks = [await ada.submit("puppet") for _ in range(3)]
    await ada.reaches(tasks[0], "running")

    async def held() -> bool:
        return (await explained(ada, tasks[2]))[0] == "concurrency"

    await until(held)
    wait = (await ada.http.get(f"/v1/tasks/{tasks[2]}/explain")).json()["wait"]
    assert wait["detail"].startswith("Your tier runs at most 1 of your tasks at once")
    assert (await ada.task(tasks[2]))["wait_reason"] == "concurrency"
    await eve.reaches(await eve.submit("puppet"), "running")
    grid.puppet.go.set()
    for task in tasks:
        assert (await ada.reaches(task, "completed"))["wait_reason"] is None
    assert grid.puppet.most_running == 2
