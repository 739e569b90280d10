"""Submitting: durable at once, with a way to wait."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest

from neurogrid.tasks.schemas import TaskSummary, TaskView
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.until import until

pytestmark = pytest.mark.asyncio


def fits(view: Any, schema: type[TaskSummary]) -> bool:
    """Tell whether ``view`` has exactly the keys of ``schema`` and values that it admits."""
    schema.model_validate(view)
    return set(view) == set(schema.model_fields)


async def test_accepted_is_durable(ada: Account) -> None:
    """202 leads to the task by `Location`, in the shape the document promises, and the row says the same."""
    fields = {
        "model": "puppet",
        "input": {"a": [1, "é"]},
        "parameters": {},
        "metadata": {"k": "v"},
        "priority": "high",
        "timeout": 60,
        "max_attempts": 2,
    }
    answer = await ada.http.post("/v1/tasks", json=fields)
    assert answer.status_code == 202
    view = answer.json()
    assert answer.headers["location"] == f"/v1/tasks/{view['id']}"
    assert answer.headers["content-type"] == "application/json"
    assert fits(view, TaskView)
    assert {name: view[name] for name in fields} == fields
    row = await ada.reaches(view["id"], "running")
    assert fits(row, TaskView)
    changed = {name for name in view if view[name] != row[name]}
    assert changed <= {"status", "node", "started_at", "attempt"}


async def test_finished_task_is_whole(ada: Account) -> None:
    """A finished task has output, usage, node and times that follow one another."""
    id = await ada.submit("debug.echo", {"hello": ["world", 1.5, None, "\U0001f600"]})
    task = await ada.reaches(id, "completed")
    assert fits(task, TaskView)
    assert task["output"] == task["input"]
    assert (task["node"], task["attempt"], task["errors"]) == ("node", 1, 0)
    times = [datetime.fromisoformat(task[name]) for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert task["processing_time_ms"] >= 0


async def test_input_alone_is_enough(ada: Account) -> None:
    """`{"input": "…"}` goes to the default model."""
    answer = await ada.http.post("/v1/tasks", json={"input": "hello"}, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]["text"] == "hello "


async def test_wait_returns_the_finished_task(ada: Account) -> None:
    """`Prefer: wait=N` answers 200 with the finished task, and says what was applied."""
    body = {"model": "debug.echo", "input": 1}
    answer = await ada.http.post("/v1/tasks", json=body, headers={"Prefer": "respond-async, wait=30"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert fits(answer.json(), TaskView)
    assert answer.json()["status"] == "completed"


async def test_too_slow_is_accepted(ada: Account) -> None:
    """A task that takes longer than the client waits is answered 202, and goes on."""
    answer = await ada.http.post(
        "/v1/tasks", json={"model": "puppet", "input": 1}, headers={"Prefer": "wait=0"}
    )
    assert answer.status_code == 202
    assert answer.json()["output"] is None
    await ada.reaches(answer.json()["id"], "running")


async def test_failure_ends_the_wait(ada: Account) -> None:
    """A task that fails for good is an answer too: 200, with its error."""
    body = {"model": "debug.fail", "input": {"retryable": False, "message": "out of luck"}}
    answer = await ada.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"] == {"code": "debug_failure", "message": "out of luck"}


@pytest.mark.parametrize(
    "value", ["wait=", "wait=-1", "wait=1.5", "wait=soon", "wait=1e3", "wait=9999999999", "wait=\u00b2"]
)
async def test_bad_wait_is_refused(sqlite_grid: RunningGateway, value: str) -> None:
    """A wait that is no whole number of seconds is 400, and nothing is submitted."""
    ada = await sqlite_grid.account()
    headers = [(b"Prefer", value.encode())]
    answer = await ada.http.post("/v1/tasks", json={"model": "debug.echo", "input": 1}, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == "Prefer"
    assert (await ada.http.get("/v1/tasks")).json()["data"] == []


async def test_wait_is_capped(start: Start) -> None:
    """A client that would wait an hour waits as long as the server allows, and is told so."""
    grid = await start(tasks={"max_wait": 0.05})
    ada = await grid.account()
    answer = await ada.http.post(
        "/v1/tasks", json={"model": "puppet", "input": 1}, headers={"Prefer": "Wait=3600"}
    )
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=0"


async def test_cap_of_the_default_settings(sqlite_grid: RunningGateway) -> None:
    """Nobody waits longer than a minute."""
    ada = await sqlite_grid.account()
    body = {"model": "debug.echo", "input": 1}
    answer = await ada.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=100"})
    assert answer.headers["preference-applied"] == "wait=60"


async def test_unknown_model_names_the_known(ada: Account) -> None:
    """A model that does not exist is 422 with those that do."""
    answer = await ada.http.post("/v1/tasks", json={"model": "gpt-9", "input": "hi"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "unknown_model")
    assert problem["errors"][0]["field"] == "model"
    assert "gpt-9" in problem["detail"]
    assert all(name in problem["detail"] for name in ("smollm2-135m", "debug.echo", "puppet"))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "range": ({"input": "hi", "parameters": {"temperature": 9}}, "parameters.temperature"),
    "role": ({"input": {"messages": [{"role": "x", "content": "a"}]}}, "input.messages[0].role"),
    "missing in input": ({"input": {"messages": [{"role": "user"}]}}, "input.messages[0].content"),
    "extra parameter": ({"input": "hi", "parameters": {"temprature": 1}}, "parameters.temprature"),
    "extra in input": ({"input": {"messages": [], "mood": 1}}, "input.mood"),
    "type of input": ({"input": 5}, "input"),
    "extra field": ({"input": "hi", "temperature": 1}, "temperature"),
    "no input": ({"model": "debug.echo"}, "input"),
    "priority": ({"input": "hi", "priority": "urgent"}, "priority"),
    "metadata": ({"input": "hi", "metadata": {"a": 1}}, "metadata.a"),
    "too many pairs": ({"input": "hi", "metadata": {str(n): "" for n in range(33)}}, "metadata"),
    "timeout": ({"input": "hi", "timeout": 0}, "timeout"),
    "attempts": ({"input": "hi", "max_attempts": 0}, "max_attempts"),
    "true for a time": ({"input": "hi", "timeout": True}, "timeout"),
    "true for a number": ({"input": "hi", "max_attempts": True}, "max_attempts"),
    "mass assignment": ({"input": "hi", "owner_id": "x"}, "owner_id"),
    "status": ({"input": "hi", "status": "completed"}, "status"),
}


async def test_wrong_field_is_named(sqlite_grid: RunningGateway) -> None:
    """What is wrong is named as the client wrote it, and nothing is submitted."""
    ada = await sqlite_grid.account()
    for case, (body, field) in WRONG.items():
        answer = await ada.http.post("/v1/tasks", json=body)
        assert answer.status_code == 422, (case, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert field in {error["field"] for error in answer.json()["errors"]}, (case, answer.json())
    assert (await ada.http.get("/v1/tasks")).json()["data"] == []


@pytest.mark.parametrize(
    "id", ["x", "x" * 3000, "019A7C1E-52F0-7D3A-9D2B-0C6F5F1F7A10", "%00", "%F0%9F", "-1"]
)
async def test_what_is_no_id_is_no_task(sqlite_grid: RunningGateway, id: str) -> None:
    """An id that cannot be is that of no task, on every route that takes one, whatever else is wrong."""
    ada = await sqlite_grid.account()
    asked = [("GET", f"{path}?after=nonsense") for path in ("", "/events", "/log", "/explain")]
    for method, path in (*asked, ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        answer = await ada.http.request(method, f"/v1/tasks/{id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)


async def test_refusal_does_not_echo_the_input(sqlite_grid: RunningGateway) -> None:
    """A refused body does not come back: the answer stays small, whatever was sent."""
    ada = await sqlite_grid.account()
    big = "x" * 500_000
    for body in (
        {"input": big},
        {"input": "hi", "parameters": {"seed": big}},
        {"input": "hi", "parameters": {big: 1}},
        {"input": {str(n) * 100: n for n in range(1000)}},
        {"model": "debug.echo", "input": "hi", "metadata": {"a": big}},
    ):
        answer = await ada.http.post("/v1/tasks", json=body)
        assert answer.status_code == 422
        assert len(answer.content) < 10_000


async def test_queue_of_a_user_is_bounded(start: Start) -> None:
    """Who has as many unfinished tasks as allowed gets 429 with `Retry-After`; others are not concerned."""
    grid = await start(tasks={"max_queued": 3})
    ada, eve = await grid.account(), await grid.account()
    ids = [await ada.submit("puppet") for _ in range(3)]
    answer = await ada.http.post("/v1/tasks", json={"model": "puppet", "input": 1})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_tasks")
    assert int(answer.headers["retry-after"]) > 0
    await eve.submit("puppet")
    await ada.http.post(f"/v1/tasks/{ids[0]}/cancel")

    async def admitted() -> bool:
        again = await ada.http.post("/v1/tasks", json={"model": "puppet", "input": 1})
        return bool(again.status_code == httpx.codes.ACCEPTED)

    await until(admitted, what="room again after a cancel")


async def test_many_at_once_do_not_pass_the_bound(start: Start) -> None:
    """Fifty submissions in the same moment are counted one by one."""
    grid = await start(tasks={"max_queued": 10})
    ada = await grid.account()
    body = {"model": "puppet", "input": 1}
    answers = await asyncio.gather(*(ada.http.post("/v1/tasks", json=body) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [202] * 10 + [429] * 40


async def test_limits_are_shown_as_they_were_asked_for(ada: Account) -> None:
    """Deadline and `on_disconnect` come back with the task, at once and from its row."""
    fields = {"deadline": "2999-01-01T01:00:00+01:00", "on_disconnect": "cancel"}
    answer = await ada.http.post("/v1/tasks", json={"model": "debug.echo", "input": 1, **fields})
    assert answer.status_code == 202, answer.text
    row = await ada.reaches(answer.json()["id"], "completed")
    for view in (answer.json(), row):
        assert (view["deadline"], view["on_disconnect"]) == ("2999-01-01T00:00:00.000000Z", "cancel")
    plain = await ada.task(await ada.submit("debug.echo"))
    assert (plain["deadline"], plain["on_disconnect"]) == (None, "detach")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("deadline", "2020-01-01T00:00:00Z"), ("deadline", "2999-01-01T00:00:00"), ("deadline", "soon"),
        ("on_disconnect", "stop"), ("timeout", 0),
    ],
)  # fmt: skip
async def test_impossible_limits_are_refused_by_name(
    sqlite_grid: RunningGateway, field: str, value: object
) -> None:
    """A deadline in the past, or one without time zone, is 422 and named."""
    ada = await sqlite_grid.account()
    answer = await ada.http.post("/v1/tasks", json={"model": "debug.echo", "input": 1, field: value})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
