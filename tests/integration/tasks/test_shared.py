"""Equal tasks through the API: run once, watched by all who asked (GRID-6, R20)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from neurogrid.runners.base import Emit
from tests.support.gateway import Account, RunningGateway, running
from tests.support.node import Puppet
from tests.support.plain import NOBODY
from tests.support.until import until

pytestmark = pytest.mark.asyncio

WORDS = ["one ", "two ", "three "]


class Script:
    """A model that says a word each time it is told to, and counts its runs."""

    def __init__(self) -> None:
        self.puppet = Puppet(slots=8, deterministic=True)
        self.puppet.act = self._run
        self.said = 0
        self._more = asyncio.Condition()

    async def say(self, words: int = len(WORDS)) -> None:
        """Let the runs under way and to come say this many words."""
        async with self._more:
            self.said = words
            self._more.notify_all()

    async def _run(self, input: Any, emit: Emit) -> Any:
        for place, word in enumerate(WORDS, 1):
            async with self._more:
                await self._more.wait_for(lambda place=place: self.said >= place)  # type: ignore[misc]
            await emit.chunk({"text": word})
        if input == "bad":
            msg = "not this"
            raise ValueError(msg)
        return {"text": "".join(WORDS)}


class Watch:
    """What a client has of a task's live events."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.ids: list[str] = []
        self.tasks: set[str] = set()
        self.text = ""

    async def read(self, response: httpx.Response) -> None:
        """Read to the end."""
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                self.types.append(event["type"])
                self.ids.append(event["id"])
                self.tasks.add(event["task_id"])
                if event["type"] == "task.chunk":
                    self.text += event["data"]["text"]
                elif event["type"] in {"task.retrying", "task.snapshot"}:
                    self.text = event["data"].get("text", "")


@asynccontextmanager
async def watching(account: Account, task: str) -> AsyncIterator[tuple[Watch, asyncio.Task[None]]]:
    """Watch a task over SSE as long as the block; the second value ends with the stream."""
    watch, headers = Watch(), account.http.headers
    async with (
        httpx.AsyncClient(
            base_url=account.http.base_url, headers=headers, trust_env=False, verify=NOBODY, timeout=60
        ) as own,
        own.stream("GET", f"/v1/tasks/{task}/events") as response,
    ):
        reading = asyncio.create_task(watch.read(response))
        try:
            yield watch, reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest_asyncio.fixture
async def grid(database_url: str, script: Script) -> AsyncIterator[RunningGateway]:
    """A gateway whose model is deterministic and does what ``script`` says."""
    async with running(database_url, puppet=script.puppet) as gateway:
        yield gateway


async def test_a_hundred_equal_tasks_run_once(grid: RunningGateway, script: Script) -> None:
    """All are accepted, each has the result, and the model ran once."""
    ada = await grid.account()
    ids = await asyncio.gather(*(ada.submit("puppet") for _ in range(100)))
    await until(lambda: script.puppet.started == 1)
    waiting = await ada.task(ids[-1])
    assert (waiting["status"], waiting["wait_reason"]) in {("queued", "leader"), ("running", None)}
    await script.say()
    tasks = [await ada.reaches(id, "completed") for id in ids]
    assert {task["output"]["text"] for task in tasks} == {"one two three "}
    assert len(set(ids)) == 100
    assert script.puppet.started == 1


async def test_explain_names_the_leader(grid: RunningGateway, script: Script) -> None:
    """GRID-12: a follower that waits, and one that is over, say whose execution they share."""
    ada = await grid.account()
    leader, follower = await ada.submit("puppet"), await ada.submit("puppet")
    explained = (await ada.http.get(f"/v1/tasks/{follower}/explain")).json()
    assert (explained["wait"]["reason"], explained["shared_with"]) == ("leader", leader)
    await script.say()
    await ada.reaches(follower, "completed")
    explained = (await ada.http.get(f"/v1/tasks/{follower}/explain")).json()
    assert (explained["wait"], explained["shared_with"]) == (None, leader)


async def test_a_final_error_is_shared_too(grid: RunningGateway, script: Script) -> None:
    ada = await grid.account()
    ids = [await ada.submit("puppet", "bad", max_attempts=1) for _ in range(2)]
    await script.say()
    statuses = {(await ada.reaches(id, "failed", "completed"))["status"] for id in ids}
    assert statuses == {"failed"}


async def test_owners_do_not_share(grid: RunningGateway, script: Script) -> None:
    """What one user asks for tells another one nothing, not even by its speed."""
    ada, eve = await grid.account(), await grid.account()
    await ada.submit("puppet")
    await eve.submit("puppet")
    await until(lambda: script.puppet.started == 2)


async def test_temperature_is_not_shared(grid: RunningGateway, script: Script) -> None:
    """What is drawn at random is drawn for each."""
    ada = await grid.account()
    for _ in range(2):
        await ada.submit("puppet", parameters={"temperature": 0.5})
    await until(lambda: script.puppet.started == 2)


async def test_a_follower_is_watched_token_by_token(grid: RunningGateway, script: Script) -> None:
    """Its watcher sees its leader's words as they come, under its own name, and its own end; nothing twice."""
    ada = await grid.account()
    leader, follower = await ada.submit("puppet"), await ada.submit("puppet")
    await script.say(1)
    async with watching(ada, follower) as (watch, over), watching(ada, leader) as (lead, lead_over):
        await until(lambda: watch.text == "one ")
        await script.say(2)
        await until(lambda: watch.text == "one two ")
        await script.say(3)
        await asyncio.wait_for(asyncio.gather(over, lead_over), 30)
    assert watch.tasks == {follower}
    assert watch.types[0] == "task.queued"
    assert watch.types[-1] == "task.completed"
    assert watch.ids == lead.ids
    assert watch.text == lead.text == "one two three "


async def test_a_cancelled_leader_hands_over(grid: RunningGateway, script: Script) -> None:
    """Its work stops; the follower runs afresh, and its watchers and those of the others start over."""
    ada = await grid.account()
    leader, heir, other = [await ada.submit("puppet") for _ in range(3)]
    await script.say(2)
    async with watching(ada, heir) as (watch, over), watching(ada, other) as (watch_too, over_too):
        await until(lambda: watch.text == watch_too.text == "one two ")
        await script.say(0)
        await ada.http.post(f"/v1/tasks/{leader}/cancel")
        await until(lambda: script.puppet.started == 2)
        await until(lambda: watch.text == watch_too.text == "")
        await script.say()
        await asyncio.wait_for(asyncio.gather(over, over_too), 30)
    for seen in (watch, watch_too):
        assert seen.text == "one two three "
        assert seen.types.count("task.retrying") == 1
        assert len(set(seen.ids)) == len(seen.ids)
    assert script.puppet.cancelled == 1
    assert (await ada.task(leader))["status"] == "canceled"


async def test_the_last_one_cancelled_stops_the_work(grid: RunningGateway, script: Script) -> None:
    """Followers that are cancelled stop nothing but themselves."""
    ada = await grid.account()
    leader, follower = await ada.submit("puppet"), await ada.submit("puppet")
    await until(lambda: script.puppet.running == 1)
    await ada.http.post(f"/v1/tasks/{follower}/cancel")
    assert (await ada.task(leader))["status"] == "running"
    await ada.http.post(f"/v1/tasks/{leader}/cancel")
    await until(lambda: script.puppet.running == 0)
    assert script.puppet.started == 1


async def test_waiting_followers_are_answered(grid: RunningGateway, script: Script) -> None:
    ada = await grid.account()
    await ada.submit("puppet")
    body = {"model": "puppet", "input": "hi"}
    request = asyncio.create_task(ada.http.post("/v1/tasks", json=body, headers={"Prefer": "wait=30"}))
    await until(lambda: script.puppet.running == 1)
    await script.say()
    answer = await request
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")


async def test_a_large_output_is_shared_without_a_copy(grid: RunningGateway, script: Script) -> None:
    """R12: it stays when the leader is deleted, as long as anybody has it."""
    script.puppet.act = None
    ada = await grid.account()
    text = "x" * 300_000
    leader, follower = await ada.submit("puppet", text), await ada.submit("puppet", text)
    script.puppet.go.set()
    assert (await ada.reaches(follower, "completed"))["output"] == text
    await ada.reaches(leader, "completed")
    assert (await ada.http.delete(f"/v1/tasks/{leader}")).status_code == 204
    assert (await ada.task(follower))["output"] == text


async def test_over_two_gateways(postgres_url: str, redis_url: str, script: Script) -> None:
    """Submitted and watched at a gateway that has no node, run once by the other one's; also the hand-over."""
    options: dict[str, Any] = {"redis_url": SecretStr(redis_url)}
    async with (
        running(postgres_url, puppet=script.puppet, **options) as here,
        running(postgres_url, nodes=False, **options) as there,
    ):
        ada = await here.account()
        abroad = Account(ada.id, ada.email, ada.key, await there.client(ada.key))
        await script.say(1)
        leader = await ada.submit("puppet")
        heir, other = await abroad.submit("puppet"), await abroad.submit("puppet")
        async with watching(abroad, heir) as (watch, over), watching(abroad, other) as (watch_too, over_too):
            await until(lambda: watch.text == watch_too.text == "one ")
            await script.say(0)
            await abroad.http.post(f"/v1/tasks/{leader}/cancel")
            await until(lambda: script.puppet.started == 2)
            await until(lambda: watch.text == watch_too.text == "")
            await script.say()
            await asyncio.wait_for(asyncio.gather(over, over_too), 30)
        assert watch.text == watch_too.text == "one two three "
        assert watch.ids == sorted(set(watch.ids), key=lambda id: tuple(map(int, id.split("-"))))
    assert script.puppet.started == 2
