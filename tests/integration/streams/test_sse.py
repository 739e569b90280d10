"""``GET /v1/tasks/{id}/events`` through a real server and a real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from neurogrid.core.settings import LiveSettings
from neurogrid.protocol.events import EventId, EventType, make_event
from tests.integration.streams.conftest import Gateway, running_gateway
from tests.support.live import chunk, new_task, state
from tests.support.plain import NOBODY
from tests.support.until import until

pytestmark = pytest.mark.asyncio
ALICE = {"Authorization": "Bearer alice-key"}
PATIENCE = 30.0


@dataclass
class Stream:
    """The open answer, read block by block."""

    response: httpx.Response
    lines: AsyncIterator[str]

    async def block(self) -> dict[str, str]:
        """Return the fields of the next block; a comment has the name ``""``. ``{}`` at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self.lines:
                if not line:
                    return fields
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        return fields

    async def ids(self) -> list[str]:
        """Read to the end; return the ids of the events."""
        ids = []
        while block := await self.block():
            ids += [block["id"]] if "id" in block else []
        return ids


@asynccontextmanager
async def stream(gateway: Gateway, task: str, **options: object) -> AsyncIterator[Stream]:
    headers = {**ALICE, **options.pop("headers", {})}  # type: ignore[dict-item]
    url = f"{gateway.http}/v1/tasks/{task}/events"
    async with (
        httpx.AsyncClient(timeout=PATIENCE, trust_env=False, verify=NOBODY) as client,
        client.stream("GET", url, headers=headers, **options) as response,  # type: ignore[arg-type]
    ):
        yield Stream(response, response.aiter_lines())


async def finished_task(gateway: Gateway) -> str:
    task = new_task()
    gateway.rows.owners[task] = "alice"
    await gateway.happen(
        state(task, "0-1", EventType.QUEUED),
        state(task, "1-1", EventType.RUNNING),
        chunk(task, 1, 2, "a"),
        chunk(task, 1, 3, "b"),
        state(task, "1-4", EventType.COMPLETED),
    )
    return task


async def test_a_task_is_followed_to_its_end(gateway: Gateway) -> None:
    """Events come as they happen, whole, with their ids; the stream ends after the final one (LIVE-6)."""
    task = new_task()
    gateway.rows.owners[task] = "alice"
    await gateway.happen(state(task, "0-1", EventType.QUEUED))
    async with stream(gateway, task) as live:
        assert live.response.headers["content-type"].startswith("text/event-stream")
        assert live.response.headers["cache-control"] == "no-cache"
        assert live.response.headers["x-accel-buffering"] == "no"
        assert await live.block() == {"retry": "1000"}
        assert (await live.block())["event"] == "task.queued"
        await gateway.happen(state(task, "1-1", EventType.RUNNING))
        assert (await live.block())["id"] == "1-1"
        await gateway.happen(chunk(task, 1, 2, "line\nbreak"))
        block = await live.block()
        assert (block["id"], block["event"]) == ("1-2", "task.chunk")
        assert json.loads(block["data"])["data"] == {"text": "line\nbreak"}
        await gateway.happen(state(task, "1-3", EventType.COMPLETED))
        assert await live.ids() == ["1-3"]
    await until(lambda: gateway.hub.statistics.connections == 0)


async def test_a_finished_task_is_replayed_and_resumed(gateway: Gateway) -> None:
    """``Last-Event-ID``, or ``after``, continues behind that event; at the end there is nothing to reconnect for."""
    task = await finished_task(gateway)
    async with stream(gateway, task) as live:
        assert await live.ids() == ["0-1", "1-1", "1-2", "1-3", "1-4"]
    async with stream(gateway, task, headers={"Last-Event-ID": "1-2"}) as live:
        assert await live.ids() == ["1-3", "1-4"]
    async with stream(gateway, task, params={"after": "1-3"}) as live:
        assert await live.ids() == ["1-4"]
    async with stream(gateway, task, headers={"Last-Event-ID": "1-4"}, params={"after": "0-1"}) as live:
        assert live.response.status_code == 204


async def test_a_replayed_task_does_not_end_at_its_first_final_event(gateway: Gateway) -> None:
    """A late reader of a task that failed and was replayed sees both."""
    task = new_task()
    gateway.rows.owners[task] = "alice"
    await gateway.happen(
        state(task, "0-1", EventType.QUEUED),
        state(task, "1-1", EventType.RUNNING),
        state(task, "1-2", EventType.FAILED),
        state(task, "2-0", EventType.RETRYING),
        state(task, "2-1", EventType.RUNNING),
        state(task, "2-2", EventType.COMPLETED),
    )
    async with stream(gateway, task) as live:
        assert await live.ids() == ["0-1", "1-1", "1-2", "2-0", "2-1", "2-2"]


async def test_white_space_in_a_payload_breaks_no_frame(gateway: Gateway) -> None:
    """A node may send JSON over several lines; it stays one field of one event."""
    task = new_task()
    gateway.rows.owners[task] = "alice"
    await gateway.happen(state(task, "0-1", EventType.QUEUED), state(task, "1-1", EventType.RUNNING))
    gateway.bus.publish(
        make_event(task, EventId(1, 2), EventType.CHUNK, b'{\r\n "text":\n\n"id: 9-9\\n\\nevent: x"}')
    )
    async with stream(gateway, task, params={"after": "1-1"}) as live:
        await live.block()
        block = await live.block()
        assert json.loads(block["data"])["data"] == {"text": "id: 9-9\n\nevent: x"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"headers": {"Last-Event-ID": "yesterday"}}, "Last-Event-ID"),
        ({"headers": {"Last-Event-ID": "1-" + "9" * 400}}, "Last-Event-ID"),
        ({"params": {"after": "-1"}}, "after"),
    ],
)
async def test_bad_cursors_are_named(gateway: Gateway, options: dict[str, object], named: str) -> None:
    """A cursor that is none gets a 400 that says which one."""
    task = await finished_task(gateway)
    async with stream(gateway, task, **options) as live:
        assert live.response.status_code == 400
        problem = json.loads(await live.response.aread())
        assert problem["errors"][0]["field"] == named


async def test_foreign_and_unknown_tasks_look_the_same(gateway: Gateway) -> None:
    """Whether somebody else's task exists is nobody's business; without credentials there is nothing at all."""
    task = await finished_task(gateway)
    gateway.rows.owners[task] = "bob"
    answers = []
    for id in (task, new_task(), "nonsense"):
        async with stream(gateway, id) as live:
            problem = json.loads(await live.response.aread())
            answers.append((live.response.status_code, problem["code"], problem["detail"]))
    assert set(answers) == {(404, "not_found", "There is no such task.")}
    async with stream(gateway, task, headers={"Authorization": "Bearer nonsense"}) as live:
        assert live.response.status_code == 401


async def test_heartbeats_keep_a_silent_stream_alive() -> None:
    """While nothing happens, comments pass through proxies that cut silent connections."""
    async with running_gateway(LiveSettings(heartbeat=0.1)) as gateway:
        task = new_task()
        gateway.rows.owners[task] = "alice"
        async with stream(gateway, task) as live:
            await live.block()
            assert "" in await live.block()
            assert "" in await live.block()


async def test_shutdown_ends_open_streams(gateway: Gateway) -> None:
    """A restarting gateway lets go of its streams; clients resume elsewhere."""
    task = new_task()
    gateway.rows.owners[task] = "alice"
    async with stream(gateway, task) as live:
        await live.block()
        gateway.hub.stop_accepting()
        assert await live.ids() == []


async def test_a_client_that_takes_nothing_is_cut() -> None:
    """A reader that stopped reading costs a bounded buffer and no connection for ever."""
    async with running_gateway(LiveSettings(buffer=4, heartbeat=0.3)) as gateway:
        task = new_task()
        gateway.rows.owners[task] = "alice"
        await gateway.happen(state(task, "0-1", EventType.QUEUED), state(task, "1-1", EventType.RUNNING))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
        writer.write(
            f"GET /v1/tasks/{task}/events HTTP/1.1\r\nHost: x\r\nX-API-Key: alice-key\r\n\r\n".encode()
        )
        await until(lambda: gateway.hub.statistics.connections == 1)
        seq = 1

        async def cut() -> bool:
            nonlocal seq
            seq += 1
            await gateway.happen(chunk(task, 1, seq, "x" * 500_000))
            return gateway.hub.statistics.closed_slow == 1

        await until(cut)
        assert gateway.hub.statistics.connections == 0
        writer.transport.abort()
        del reader
