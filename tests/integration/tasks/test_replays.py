"""Dead letters and replay: what failed for good can be looked at and run again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from neurogrid.core.ids import new_id
from neurogrid.core.settings import TaskSettings
from neurogrid.runners.base import Emit
from neurogrid.tasks.replays import MAX_REPLAYS
from neurogrid.tasks.schemas import TaskPage, TaskView
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.until import until

pytestmark = pytest.mark.asyncio

BROKEN = {"message": "never"}


async def dead_letter(account: Account, **fields: Any) -> str:
    """Return a task that used up its attempts."""
    id = await account.submit("debug.fail", BROKEN, **{"max_attempts": 1, **fields})
    assert (await account.reaches(id, "failed"))["dead_letter"] is True
    return id


async def kinds(account: Account, id: str) -> list[str]:
    """Return the types of a task's events."""
    log = (await account.http.get(f"/v1/tasks/{id}/log")).json()["data"]
    return [event["type"] for event in log]


async def test_time_outs_are_tried_again(grid: RunningGateway, ada: Account) -> None:
    """R1: an attempt that takes longer than its time-out is stopped and tried again; the last one fails `timeout`."""
    id = await ada.submit("puppet", timeout=0.05, max_attempts=2)
    task = await ada.reaches(id, "failed")
    assert (task["error"]["code"], task["errors"], task["attempt"]) == ("timeout", 2, 2)
    assert task["dead_letter"] is True
    assert grid.puppet.started == 2
    assert grid.puppet.cancelled == 2
    log = (await ada.http.get(f"/v1/tasks/{id}/log")).json()["data"]
    retrying = next(event for event in log if event["type"] == "task.retrying")
    assert retrying["data"]["error"]["code"] == "timeout"


async def test_dead_letters_are_listed(ada: Account, eve: Account) -> None:
    """Only tasks whose attempts are used up are dead letters, page by page, and only to their owner."""
    dead = [await dead_letter(ada) for _ in range(3)]
    final = await ada.submit("debug.fail", {**BROKEN, "retryable": False})
    await ada.reaches(final, "failed")
    await ada.reaches(await ada.submit("debug.echo"), "completed")
    shown: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await ada.http.get("/v1/tasks/dead-letters", params=query)).json()
        TaskPage.model_validate(page)
        shown += [task["id"] for task in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert shown == dead[::-1]
    one = (await ada.http.get("/v1/tasks/dead-letters", params={"model": "debug.echo"})).json()
    assert one["data"] == []
    assert (await eve.http.get("/v1/tasks/dead-letters")).json()["data"] == []


async def test_a_failed_task_runs_again(grid: RunningGateway, ada: Account) -> None:
    """A replayed task runs from the start with all its attempts; its log keeps both lives."""
    failing = True

    async def act(input: Any, emit: Emit) -> Any:
        if failing:
            raise RuntimeError("out of order")
        return {"said": input}

    grid.puppet.act = act
    id = await ada.submit("puppet", "hi", max_attempts=1)
    await ada.reaches(id, "failed")
    failing = False
    answer = await ada.http.post(f"/v1/tasks/{id}/retry")
    assert answer.status_code == 200, answer.text
    view = answer.json()
    TaskView.model_validate(view)
    assert view["status"] in {"queued", "running", "completed"}
    assert (view["errors"], view["dead_letter"], view["error"]) == (0, False, None)
    task = await ada.reaches(id, "completed")
    assert (task["output"], task["attempt"], task["errors"]) == ({"said": "hi"}, 2, 0)
    assert await kinds(ada, id) == [
        "task.queued", "task.running", "task.failed", "task.retrying", "task.running", "task.completed",
    ]  # fmt: skip
    log = (await ada.http.get(f"/v1/tasks/{id}/log")).json()["data"]
    assert (log[3]["id"], log[3]["data"]["reason"]) == ("2-0", "replayed")


async def test_a_cancelled_task_runs_again(grid: RunningGateway, ada: Account) -> None:
    """Whoever cancelled a task can have it run after all; the stopped attempt says nothing any more."""
    id = await ada.submit("puppet", "hi")
    await ada.reaches(id, "running")
    await ada.http.post(f"/v1/tasks/{id}/cancel")
    assert (await ada.http.post(f"/v1/tasks/{id}/retry")).status_code == 200
    grid.puppet.go.set()
    task = await ada.reaches(id, "completed")
    assert (task["attempt"], task["output"]) == (3, "hi")


async def test_watchers_live_through_a_replay(ada: Account) -> None:
    """R22: a stream opened on a replayed task tells both lives and ends with the second one's end."""
    id = await dead_letter(ada)
    assert (await ada.http.post(f"/v1/tasks/{id}/retry")).status_code == 200
    await ada.reaches(id, "failed")
    answer = await ada.http.get(f"/v1/tasks/{id}/events")
    told = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert told == [
        "task.queued", "task.running", "task.failed", "task.retrying", "task.running", "task.failed",
    ]  # fmt: skip
    ids = [line.removeprefix("id: ") for line in answer.text.splitlines() if line.startswith("id: ")]
    again = await ada.http.get(f"/v1/tasks/{id}/events", headers={"Last-Event-ID": ids[-1]})
    assert again.status_code == 204
    rest = await ada.http.get(f"/v1/tasks/{id}/events", headers={"Last-Event-ID": ids[2]})
    assert rest.text.count("event: ") == 3


async def test_what_lives_or_is_foreign_is_not_replayed(ada: Account, eve: Account) -> None:
    """Only the owner replays, and only what failed or was cancelled."""
    done = await ada.submit("debug.echo")
    await ada.reaches(done, "completed")
    running = await ada.submit("puppet")
    for id in (done, running):
        answer = await ada.http.post(f"/v1/tasks/{id}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    dead = await dead_letter(ada)
    for id in (dead, new_id(), "no-id"):
        assert (await eve.http.post(f"/v1/tasks/{id}/retry")).status_code == 404
    assert (await ada.task(dead))["attempt"] == 1


async def test_many_are_replayed_each_by_itself(ada: Account, eve: Account) -> None:
    """The answer says which tasks run again, and of each other one why not."""
    dead = [await dead_letter(ada) for _ in range(2)]
    done = await ada.submit("debug.echo")
    await ada.reaches(done, "completed")
    foreign = await dead_letter(eve)
    ids = [dead[0], done, foreign, "no-id", dead[1], dead[0]]
    answer = await ada.http.post("/v1/tasks/dead-letters/replay", json={"ids": ids})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["replayed"] == dead
    assert {row["id"]: row["code"] for row in body["refused"]} == {
        done: "conflict", foreign: "not_found", "no-id": "not_found",
    }  # fmt: skip
    assert body["more"] is False
    for id in dead:
        assert (await ada.reaches(id, "failed"))["attempt"] == 2


async def test_all_are_replayed(ada: Account, eve: Account) -> None:
    """`all` takes every dead letter of one's own, with `model` those of one model."""
    foreign = await dead_letter(eve)
    dead = [await dead_letter(ada) for _ in range(3)]
    none = await ada.http.post("/v1/tasks/dead-letters/replay", json={"all": True, "model": "debug.echo"})
    assert none.json() == {"replayed": [], "refused": [], "more": False}
    answer = await ada.http.post("/v1/tasks/dead-letters/replay", json={"all": True, "model": "debug.fail"})
    assert answer.json() == {"replayed": dead, "refused": [], "more": False}
    assert (await eve.task(foreign))["attempt"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {}, {"all": False}, {"ids": []}, {"ids": ["x"], "all": True}, {"ids": ["x"], "model": "m"},
        {"ids": ["x"] * (MAX_REPLAYS + 1)}, {"ids": "x"}, {"all": True, "other": 1},
    ],
)  # fmt: skip
async def test_a_request_that_says_nothing_clear_is_refused(sqlite_grid: RunningGateway, body: Any) -> None:
    """Either some ids or all, and nothing else."""
    ada = await sqlite_grid.account()
    answer = await ada.http.post("/v1/tasks/dead-letters/replay", json=body)
    assert answer.status_code == 422


async def test_replays_count_as_unfinished_tasks(start: Start) -> None:
    """The limit of unfinished tasks holds for replays, too."""
    gateway = await start(tasks=TaskSettings(max_queued=2))
    ada = await gateway.account()
    ids = [new_id() for _ in range(3)]
    refused = await ada.http.post("/v1/tasks/dead-letters/replay", json={"ids": ids})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_tasks")


async def test_concurrent_replays_run_once(grid: RunningGateway, ada: Account) -> None:
    """Of many who replay one task at the same moment one does; the others are told."""
    id = await ada.submit("puppet")
    await ada.reaches(id, "running")
    await ada.http.post(f"/v1/tasks/{id}/cancel")
    answers = await asyncio.gather(*(ada.http.post(f"/v1/tasks/{id}/retry") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    grid.puppet.go.set()
    assert (await ada.reaches(id, "completed"))["attempt"] == 3
    await until(lambda: grid.puppet.running == 0)
