"""Nobody reaches what is somebody else's, and cannot even tell that it is there."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from websockets.asyncio.client import ClientConnection, connect

from neurogrid.auth.policy import Role
from neurogrid.core.ids import new_id
from tests.support.gateway import Account, RunningGateway

pytestmark = pytest.mark.asyncio


def of_a_task(grid: RunningGateway) -> list[tuple[str, str]]:
    """Return method and path of every route that takes the id of a task."""
    return [
        (method, route.path)
        for route in iter_route_contexts(grid.app.routes)
        if isinstance(route.original_route, APIRoute) and route.path and route.path.startswith("/v1/tasks/{")
        for method in route.methods or ()
    ]


def path_of(template: str, task: str) -> str:
    return template.replace("{id}", task).replace("{task_id}", task)


@pytest.mark.parametrize("role", [Role.USER, Role.OPERATOR])
async def test_foreign_tasks_are_not_there(grid: RunningGateway, ada: Account, role: Role) -> None:
    """Every route that takes a task's id answers a foreign one just as one that never was: 404."""
    running, done = await ada.submit("puppet"), await ada.submit("debug.echo")
    await ada.reaches(running, "running")
    await ada.reaches(done, "completed")
    eve = await grid.account(role)
    routes = of_a_task(grid)
    assert len(routes) >= 5
    for method, template in routes:
        absent = await eve.http.request(method, path_of(template, new_id()))
        for task in (running, done):
            answer = await eve.http.request(method, path_of(template, task))
            assert answer.status_code == 404, (method, template)
            same = ("type", "title", "status", "detail", "code", "errors")
            assert [answer.json()[name] for name in same] == [absent.json()[name] for name in same]
    assert (await ada.task(running))["status"] == "running"
    assert (await ada.task(done))["status"] == "completed"
    assert (await eve.http.get("/v1/tasks")).json()["data"] == []


async def test_ids_that_are_none(grid: RunningGateway, ada: Account) -> None:
    """An id that is no id is 404 or 422, on either database, never an error of ours."""
    for method, template in of_a_task(grid):
        for id in ("x", "0", "..%2F..%2Fetc", "%00", "null", "*", "1' OR '1'='1"):
            answer = await ada.http.request(method, path_of(template, id))
            assert answer.status_code in {404, 422}, (method, template, id)


async def ask(socket: ClientConnection, **message: Any) -> Any:
    await socket.send(orjson.dumps(message).decode())
    return await hear(socket)


async def hear(socket: ClientConnection) -> Any:
    return orjson.loads(await socket.recv())


async def test_foreign_tasks_over_the_web_socket(grid: RunningGateway, ada: Account, eve: Account) -> None:
    """Subscribing to a foreign task is refused as one that never was, and brings nothing of it."""
    task = await ada.submit("puppet")
    await ada.reaches(task, "running")
    url = grid.url.replace("http", "ws") + "/v1/ws"
    async with connect(url, additional_headers={"Authorization": f"Bearer {eve.key}"}, proxy=None) as socket:
        assert [(await hear(socket))["type"] for _ in range(2)] == ["welcome", "authenticated"]
        assert (await ask(socket, type="subscribe", channel="tasks"))["type"] == "subscribed"
        refused = await ask(socket, type="subscribe", channel=f"task:{task}")
        absent = await ask(socket, type="subscribe", channel=f"task:{new_id()}")
        assert (refused["type"], refused["code"], refused["message"]) == (
            "error",
            "not_found",
            absent["message"],
        )
        grid.puppet.go.set()
        await ada.reaches(task, "completed")
        assert (await ask(socket, type="ping"))["type"] == "pong", "no event of the foreign task came before"
        own = await eve.submit("debug.echo")
        assert (await hear(socket))["event"]["task_id"] == own
