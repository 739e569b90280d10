"""Reading, listing, cancelling and deleting one's tasks."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.core.errors import BadRequest
from neurogrid.core.http.pages import decode, encode
from neurogrid.core.ids import is_id, new_id
from neurogrid.protocol.events import START, EventId
from neurogrid.tasks.records import TaskRecords
from neurogrid.tasks.schemas import TaskLog, TaskPage, TaskSummary
from neurogrid.tasks.store import TaskStore
from tests.support.gateway import Account, RunningGateway


async def pages(account: Account, **query: Any) -> list[list[str]]:
    """Follow a list to its end and return the ids of each page."""
    found: list[list[str]] = []
    cursor: str | None = None
    while True:
        parameters = {**query, **({"cursor": cursor} if cursor else {})}
        answer = await account.http.get("/v1/tasks", params=parameters)
        assert answer.status_code == 200, answer.text
        page = TaskPage.model_validate(answer.json())
        found.append([task.id for task in page.data])
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_show_everything_once(ada: Account, eve: Account, limit: int) -> None:
    """Pages go from the newest to the oldest and show each task once, and nobody else's."""
    await eve.submit("debug.echo")
    ids = [await ada.submit("debug.echo") for _ in range(7)]
    await eve.submit("debug.echo")
    found = await pages(ada, limit=limit)
    assert [id for page in found for id in page] == ids[::-1]
    assert all(len(page) <= limit for page in found)
    assert found[-1], "the last page is not empty"


@pytest.mark.asyncio
async def test_pages_stay_in_place_while_tasks_arrive(ada: Account) -> None:
    """What arrives between two pages moves nothing: the second goes on where the first ended."""
    ids = [await ada.submit("debug.echo") for _ in range(4)]
    first = (await ada.http.get("/v1/tasks?limit=2")).json()
    await ada.submit("debug.echo")
    second = (await ada.http.get("/v1/tasks", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [task["id"] for task in first["data"] + second["data"]] == ids[::-1]


@pytest.mark.asyncio
async def test_filters(ada: Account) -> None:
    """Filters by status, model and time narrow the list, together; rows fit their schema exactly."""
    echo = await ada.submit("debug.echo")
    await ada.reaches(echo, "completed")
    running = [await ada.submit("puppet") for _ in range(2)]
    for id in running:
        await ada.reaches(id, "running")
    queued = await ada.submit("puppet")
    middle = (await ada.task(running[0]))["created_at"]

    async def listed(**query: Any) -> set[str]:
        return {id for page in await pages(ada, **query) for id in page}

    assert await listed(status="completed") == {echo}
    assert await listed(status=["running", "queued"]) == {*running, queued}
    assert await listed(status="queued") == {queued}
    assert await listed(model="puppet", status="running") == set(running)
    assert await listed(model="no-such-model") == set()
    assert await listed(created_after=middle) == {*running, queued}
    assert await listed(created_before=middle) == {echo}
    shown = (await ada.http.get("/v1/tasks")).json()["data"]
    assert all(set(task) == set(TaskSummary.model_fields) for task in shown)


@pytest.mark.asyncio
async def test_bad_queries_are_refused(sqlite_grid: RunningGateway) -> None:
    """A cursor of nobody is 400; limits, states and times that cannot be are 422 and named."""
    ada = await sqlite_grid.account()
    for cursor in (
        "x",
        "....",
        "a" * 200,
        _b64(b"not an id"),
        _b64("é".encode("latin-1")),
        _b64(new_id().upper().encode()),
    ):
        answer = await ada.http.get("/v1/tasks", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "cursor")
    for query in (
        "limit=0", "limit=101", "limit=-1", "limit=x", "status=done", "status=waiting", "created_after=yesterday",
        "created_before=2026-01-01T00:00:00", "cursor=" + "a" * 300,
    ):  # fmt: skip
        answer = await ada.http.get(f"/v1/tasks?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["errors"][0]["field"].startswith("query." + query.partition("=")[0])


@pytest.mark.asyncio
async def test_cancel_while_queued_and_running(grid: RunningGateway, ada: Account) -> None:
    """A cancelled task is final at once, its node stops working on it, and cancelling again changes nothing."""
    running = [await ada.submit("puppet") for _ in range(2)]
    for id in running:
        await ada.reaches(id, "running")
    queued = await ada.submit("puppet")
    for id in (queued, running[0]):
        first = await ada.http.post(f"/v1/tasks/{id}/cancel")
        assert (first.status_code, first.json()["status"]) == (200, "canceled")
        again = await ada.http.post(f"/v1/tasks/{id}/cancel")
        assert (again.status_code, again.json()) == (200, first.json())
    grid.puppet.go.set()
    await ada.reaches(running[1], "completed")
    assert grid.puppet.cancelled == 1
    assert (await ada.task(running[0]))["output"] is None
    assert (await ada.http.post(f"/v1/tasks/{running[1]}/cancel")).status_code == 409


@pytest.mark.asyncio
async def test_cancel_ends_the_wait(ada: Account) -> None:
    """Whoever waits for a task hears of its cancellation at once."""
    body = {"model": "puppet", "input": 1}
    waiting = asyncio.create_task(ada.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=25"}))
    id = ""
    while not id:
        id = next((task["id"] for task in (await ada.http.get("/v1/tasks")).json()["data"]), "")
    await ada.reaches(id, "running")
    await ada.http.post(f"/v1/tasks/{id}/cancel")
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")


@pytest.mark.asyncio
async def test_delete_takes_everything(grid: RunningGateway, ada: Account) -> None:
    """A finished task can be deleted, and is gone with its log; one that runs cannot."""
    id = await ada.submit("puppet")
    await ada.reaches(id, "running")
    refused = await ada.http.delete(f"/v1/tasks/{id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    grid.puppet.go.set()
    await ada.reaches(id, "completed")
    gone = await ada.http.delete(f"/v1/tasks/{id}")
    assert (gone.status_code, gone.content) == (204, b"")
    for path in (f"/v1/tasks/{id}", f"/v1/tasks/{id}/log", f"/v1/tasks/{id}/events"):
        assert (await ada.http.get(path)).status_code == 404
    assert (await ada.http.delete(f"/v1/tasks/{id}")).status_code == 404
    assert (await ada.http.get("/v1/tasks")).json()["data"] == []


@pytest.mark.asyncio
async def test_log_tells_every_state(ada: Account) -> None:
    """The log has every change of state in order, with the error of each failed attempt and the output."""
    id = await ada.submit("debug.fail", {"times": 1, "message": "not today"})
    await ada.reaches(id, "completed")
    log = TaskLog.model_validate((await ada.http.get(f"/v1/tasks/{id}/log")).json()).data
    assert [event.type for event in log] == [
        "task.queued",
        "task.running",
        "task.retrying",
        "task.running",
        "task.completed",
    ]
    assert [event.id for event in log][:4] == ["0-1", "1-1", "2-0", "2-1"]
    assert log[2].data["error"]["message"] == "not today"
    assert log[-1].data["output"] == {"attempt": 2}
    assert all(event.task_id == id for event in log)


@pytest.mark.asyncio
async def test_events_after_a_cursor_beyond_all_numbers(grid: RunningGateway, ada: Account) -> None:
    """A made-up cursor is after every event, not an error of the database."""
    id = await ada.submit("debug.echo")
    await ada.reaches(id, "completed")
    records = TaskRecords(TaskStore(grid.database))
    for cursor in (EventId(10**15 - 1, 1), EventId(1, 10**15 - 1)):
        assert await records.state_events(id, cursor) == []
    assert len(await records.state_events(id, START)) == 3


@pytest.mark.asyncio
async def test_attempts_end(ada: Account) -> None:
    """A task that fails on every attempt ends as a dead letter with its last error."""
    id = await ada.submit("debug.fail", {"message": "never"}, max_attempts=2)
    task = await ada.reaches(id, "failed")
    assert (task["attempt"], task["errors"], task["dead_letter"]) == (2, 2, True)
    assert task["error"]["message"] == "never"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(st.uuids(version=None))
def test_cursor_comes_back(id: Any) -> None:
    """A cursor leads to the id it was made of."""
    assert decode(encode(str(id)), is_id) == str(id)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_=-]*", fullmatch=True) | st.binary().map(_b64))
def test_cursor_of_nobody_is_refused(text: str) -> None:
    """Whatever else is sent as a cursor is an id or a bad request, never anything else."""
    with suppress(BadRequest):
        assert is_id(decode(text, is_id) or "")
