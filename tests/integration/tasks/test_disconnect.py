"""`on_disconnect`: what becomes of a task whose client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from neurogrid.core.settings import LiveSettings
from tests.support.gateway import Account, RunningGateway, running
from tests.support.plain import NOBODY
from tests.support.until import until

pytestmark = pytest.mark.asyncio

GRACE = 0.2


@pytest_asyncio.fixture
async def grid(database_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway that gives readers little time to come back."""
    live = LiveSettings(disconnect_grace=GRACE)
    async with running(database_url, live=live) as gateway:
        yield gateway


@asynccontextmanager
async def waiting(account: Account, **fields: Any) -> AsyncIterator[str]:
    """Submit a task and wait for it as long as the block; then hang up."""
    body = {"model": "puppet", "input": 1, **fields}
    request = asyncio.create_task(account.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=60"}))

    async def submitted() -> Any:
        tasks = (await account.http.get("/v1/tasks", params={"status": "running"})).json()["data"]
        return tasks[0]["id"] if tasks else None

    try:
        yield await until(submitted)
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


@asynccontextmanager
async def reading(account: Account, task: str) -> AsyncIterator[None]:
    """Read a task's events over a connection of one's own as long as the block; then hang up."""
    headers = account.http.headers
    async with (
        httpx.AsyncClient(
            base_url=account.http.base_url, headers=headers, trust_env=False, verify=NOBODY
        ) as client,
        client.stream("GET", f"/v1/tasks/{task}/events") as response,
    ):
        lines = response.aiter_lines()  # an iterator nobody holds would hang up
        while await anext(lines) != "event: task.running":
            pass
        yield
        del lines


async def judged(account: Account) -> None:
    """Wait until readers that left before are judged: one who leaves now is judged after them."""
    witness = await account.submit("debug.sleep", {"seconds": 600}, on_disconnect="cancel")
    async with reading(account, witness):
        pass
    await account.reaches(witness, "canceled")


async def test_whoever_hangs_up_cancels(grid: RunningGateway) -> None:
    """With `cancel`, a client that goes away before the answer takes its task with it, and the work stops."""
    ada = await grid.account()
    async with waiting(ada, on_disconnect="cancel") as id:
        assert (await ada.task(id))["on_disconnect"] == "cancel"
    task = await ada.reaches(id, "canceled")
    assert task["output"] is None
    await until(lambda: grid.puppet.cancelled == 1)


@pytest.mark.parametrize("fields", [{}, {"on_disconnect": "detach"}])
async def test_a_detached_task_goes_on(grid: RunningGateway, fields: dict[str, str]) -> None:
    """Without `cancel`, a task outlives the request that waited for it."""
    ada = await grid.account()
    async with waiting(ada, **fields) as id:
        pass
    grid.puppet.go.set()
    await ada.reaches(id, "completed")
    assert grid.puppet.cancelled == 0


async def test_an_answer_in_time_is_no_disconnect(grid: RunningGateway) -> None:
    """A client that waited to the end, or was answered 202, has not gone away."""
    ada = await grid.account()
    body = {"model": "debug.echo", "input": 1, "on_disconnect": "cancel"}
    answer = await ada.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    body = {"model": "puppet", "input": 1, "on_disconnect": "cancel"}
    answer = await ada.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    grid.puppet.go.set()
    await ada.reaches(answer.json()["id"], "completed")


async def test_the_last_reader_cancels(grid: RunningGateway) -> None:
    """With `cancel`, a task nobody reads any more is cancelled; while somebody does it goes on."""
    ada = await grid.account()
    id = await ada.submit("puppet", on_disconnect="cancel")
    async with reading(ada, id):
        async with reading(ada, id):
            pass
        await judged(ada)
        assert (await ada.task(id))["status"] == "running"
    await ada.reaches(id, "canceled")
    await until(lambda: grid.puppet.cancelled == 1)


async def test_a_reader_may_come_back(grid: RunningGateway) -> None:
    """R22: a connection that broke and is made again within the grace leaves the task alone."""
    ada = await grid.account()
    id = await ada.submit("puppet", on_disconnect="cancel")
    async with reading(ada, id):
        pass
    async with reading(ada, id):
        await judged(ada)
        assert (await ada.task(id))["status"] == "running"
        grid.puppet.go.set()
        await ada.reaches(id, "completed")


async def test_a_reader_of_a_detached_task_changes_nothing(grid: RunningGateway) -> None:
    """Without `cancel`, readers come and go."""
    ada = await grid.account()
    id = await ada.submit("puppet")
    async with reading(ada, id):
        pass
    await judged(ada)
    grid.puppet.go.set()
    await ada.reaches(id, "completed")


async def test_who_waits_counts_as_a_reader(grid: RunningGateway) -> None:
    """A reader that leaves does not cancel what another request still waits for."""
    ada = await grid.account()
    body = {"model": "puppet", "input": 1, "on_disconnect": "cancel"}
    answer = asyncio.create_task(ada.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=60"}))

    async def submitted() -> Any:
        tasks = (await ada.http.get("/v1/tasks", params={"status": "running"})).json()["data"]
        return tasks[0]["id"] if tasks else None

    id = await until(submitted)
    async with reading(ada, id):
        pass
    await judged(ada)
    grid.puppet.go.set()
    assert (await answer).json()["status"] == "completed"


async def test_a_websocket_neither_cancels_nor_lets_cancel(grid: RunningGateway) -> None:
    """Who follows over a WebSocket keeps a task alive that readers left, and cancels nothing by leaving."""
    ada = await grid.account()
    id = await ada.submit("puppet", on_disconnect="cancel")
    headers = {"Authorization": f"Bearer {ada.key}"}
    url = grid.url.replace("http", "ws") + "/v1/ws"
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        await socket.send(f'{{"type":"subscribe","channel":"task:{id}"}}')
        while "task.running" not in str(await socket.recv()):
            pass
        async with reading(ada, id):
            pass
        await judged(ada)
        assert (await ada.task(id))["status"] == "running"
    await judged(ada)
    grid.puppet.go.set()
    await ada.reaches(id, "completed")
