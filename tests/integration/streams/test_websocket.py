"""``/v1/ws`` through a real server and a real client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from neurogrid.core.settings import LiveSettings
from neurogrid.protocol.events import EventType
from tests.integration.streams.conftest import Gateway, running_gateway
from tests.support.live import chunk, new_task, state
from tests.support.until import until

pytestmark = pytest.mark.asyncio
PATIENCE = 30.0


class Client:
    """A WebSocket client that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = json.loads(await self.connection.recv())
            return message

    async def ask(self, **message: Any) -> dict[str, Any]:
        await self.say(**message)
        return await self.hear()

    async def close_code(self) -> int | None:
        """Read to the end; return the code the server closed with."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
            return self.connection.close_code


@asynccontextmanager
async def client(gateway: Gateway, token: str | None = "alice-key", **options: Any) -> AsyncIterator[Client]:
    async with connect(gateway.websocket, **options) as connection:
        connected = Client(connection)
        assert (await connected.hear())["type"] == "welcome"
        if token is not None:
            answer = await connected.ask(type="authenticate", token=token)
            assert answer["type"] == "authenticated"
        yield connected


async def test_a_task_is_followed_token_by_token_and_resumed(gateway: Gateway) -> None:
    """What happens to a task comes once and in order; a second connection goes on where the first was cut."""
    task = new_task()
    gateway.rows.owners[task] = "alice"
    await gateway.happen(state(task, "0-1", EventType.QUEUED), state(task, "1-1", EventType.RUNNING))
    async with client(gateway) as first:
        assert (await first.ask(type="subscribe", channel=f"task:{task}"))["type"] == "subscribed"
        await gateway.happen(chunk(task, 1, 2, "Hello"))
        got = [await first.hear() for _ in range(3)]
    assert [body["event"]["id"] for body in got] == ["0-1", "1-1", "1-2"]
    assert got[2] == {
        "type": "event",
        "channel": f"task:{task}",
        "event": {
            "id": "1-2",
            "type": "task.chunk",
            "task_id": task,
            "at": got[2]["event"]["at"],
            "data": {"text": "Hello"},
        },
    }
    await gateway.happen(chunk(task, 1, 3, " world"), state(task, "1-4", EventType.COMPLETED))
    async with client(gateway) as second:
        await second.say(type="subscribe", channel=f"task:{task}", after="1-2")
        assert (await second.hear())["type"] == "subscribed"
        assert [(await second.hear())["event"]["id"] for _ in range(2)] == ["1-3", "1-4"]


async def test_unsubscribe_list_and_ping(gateway: Gateway) -> None:
    """A client can ask what it follows, leave, and see that the connection lives."""
    task = new_task()
    gateway.rows.owners[task] = "alice"
    async with client(gateway) as alice:
        assert await alice.ask(type="ping") == {"type": "pong"}
        await alice.ask(type="subscribe", channel=f"task:{task}")
        assert (await alice.ask(type="list"))["channels"] == [f"task:{task}"]
        answer = await alice.ask(type="unsubscribe", channel=f"task:{task}")
        assert answer == {"type": "unsubscribed", "channel": f"task:{task}"}
        await gateway.happen(state(task, "0-1", EventType.QUEUED))
        assert (await alice.ask(type="list"))["channels"] == []
        answer = await alice.ask(type="unsubscribe", channel="tasks")
        assert answer["code"] == "not_subscribed"


async def test_tasks_channel_brings_states_and_a_cursor(gateway: Gateway) -> None:
    """State events of all one's own tasks come, and resume by cursor; those of others never."""
    mine, other = new_task(), new_task()
    gateway.rows.owners.update({mine: "alice", other: "bob"})
    async with client(gateway) as alice:
        subscribed = await alice.ask(type="subscribe", channel="tasks")
        assert subscribed == {"type": "subscribed", "channel": "tasks", "cursor": "0"}
        await gateway.happen(state(other, "0-1", EventType.QUEUED))
        await gateway.happen(state(mine, "0-1", EventType.QUEUED))
        event = await alice.hear()
        assert event["event"]["task_id"] == mine
    await gateway.happen(state(mine, "1-1", EventType.RUNNING))
    async with client(gateway) as alice:
        await alice.ask(type="subscribe", channel="tasks", after=event["cursor"])
        assert (await alice.hear())["event"]["id"] == "1-1"
        answer = await alice.ask(type="subscribe", channel="tasks", after="nonsense")
        assert (answer["type"], answer["code"]) == ("error", "bad_request")


async def test_system_and_stats(gateway: Gateway) -> None:
    """Announcements and statistics come to whoever follows them."""
    async with client(gateway) as alice:
        await alice.ask(type="subscribe", channel="system")
        await gateway.bus.send("system", b'{"message":"Back at noon"}')
        assert (await alice.hear())["event"] == {"message": "Back at noon"}
        await alice.ask(type="subscribe", channel="stats")
        assert (await alice.hear())["event"] == {"tasks": {"running": 1}}


async def test_foreign_and_unknown_tasks_look_the_same(gateway: Gateway) -> None:
    """Nobody learns whether somebody else's task exists, whatever their role."""
    task = new_task()
    gateway.rows.owners[task] = "bob"
    async with client(gateway) as alice:
        answers = [
            await alice.ask(type="subscribe", channel=f"task:{id}")
            for id in (task, new_task(), "", "x' OR 1=1", task.upper())
        ]
        assert {(answer["type"], answer["code"], answer["message"]) for answer in answers} == {
            ("error", "not_found", "There is no such task.")
        }
    async with client(gateway, "admin-key") as admin:
        assert (await admin.ask(type="subscribe", channel=f"task:{task}"))["code"] == "not_found"


MALFORMED: list[tuple[str | bytes, str]] = [
    ("{", "malformed"),
    ("[1]", "malformed"),
    ("null", "malformed"),
    ('"subscribe"', "malformed"),
    ("{}", "malformed"),
    ('{"type":1}', "malformed"),
    ('{"type":"subscribe","channel":["tasks"]}', "malformed"),
    ("[" * 50_000, "malformed"),
    ('{"x":' * 9_000, "malformed"),
    ('{"type":"ping","token":"\\ud800"}', "malformed"),
    (b"\xff\xfe", "malformed"),
    ('{"type":"ping","x":"' + "x" * 70_000 + '"}', "too_large"),
    ('{"type":"dance"}', "unknown_type"),
    ('{"type":"subscribe"}', "invalid"),
    ('{"type":"subscribe","channel":"gossip"}', "unknown_channel"),
    ('{"type":"subscribe","channel":"admin"}', "forbidden"),
    ('{"type":"subscribe","channel":"task:x","after":"1"}', "bad_cursor"),
    ('{"type":"subscribe","channel":"task:x","after":"1-99999999999999999999"}', "bad_cursor"),
    ('{"type":"authenticate"}', "invalid"),
    ('{"type":"authenticate","token":"bob-key"}', "conflict"),
]


async def test_malformed_messages_get_an_error_and_the_connection_stays(gateway: Gateway) -> None:
    """Whatever a client sends, it is told what is wrong, and can go on."""
    async with client(gateway) as alice:
        for text, code in MALFORMED:
            await alice.connection.send(text)
            answer = await alice.hear()
            assert (answer["type"], answer["code"]) == ("error", code), text[:40]
        assert await alice.ask(type="ping", unknown="field") == {"type": "pong"}


async def test_subscriptions_are_bounded(gateway: Gateway) -> None:
    """A connection follows so many channels and no more; following one again is no other."""
    tasks = [new_task() for _ in range(6)]
    gateway.rows.owners.update(dict.fromkeys(tasks, "alice"))
    async with client(gateway) as alice:
        for task in tasks[:5]:
            assert (await alice.ask(type="subscribe", channel=f"task:{task}"))["type"] == "subscribed"
        answer = await alice.ask(type="subscribe", channel=f"task:{tasks[5]}")
        assert answer["code"] == "too_many_subscriptions"
        assert (await alice.ask(type="subscribe", channel=f"task:{tasks[0]}"))["type"] == "subscribed"


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"Authorization": "Bearer alice-key"}},
        {"additional_headers": {"X-API-Key": "alice-key"}},
        {"subprotocols": ["bearer", "alice-key"]},
    ],
    ids=["authorization", "x-api-key", "subprotocol"],
)
async def test_credentials_at_the_handshake(gateway: Gateway, options: dict[str, Any]) -> None:
    """Clients may authenticate with the handshake, browsers by subprotocol (LIVE-1)."""
    async with client(gateway, None, **options) as alice:
        assert await alice.hear() == {"type": "authenticated", "user_id": "alice"}
        assert alice.connection.subprotocol == ("bearer" if "subprotocols" in options else None)


async def test_bad_credentials_close_with_4401(gateway: Gateway) -> None:
    """At the handshake and in a message alike."""
    bad = {"Authorization": "Bearer nonsense"}
    async with client(gateway, None, additional_headers=bad) as someone:
        assert (await someone.hear())["code"] == "unauthenticated"
        assert await someone.close_code() == 4401
    async with client(gateway, None) as someone:
        assert (await someone.ask(type="authenticate", token="nonsense"))["code"] == "unauthenticated"
        assert await someone.close_code() == 4401


async def test_without_credentials_nothing_is_served_and_the_connection_ends_with_4408(
    gateway: Gateway,
) -> None:
    """Until it has authenticated a client gets nothing, and it does not have long."""
    async with client(gateway, None) as someone:
        assert (await someone.ask(type="subscribe", channel="system"))["code"] == "unauthenticated"
        assert await someone.close_code() == 4408


async def test_a_revoked_key_closes_open_connections(gateway: Gateway) -> None:
    """Within seconds of its revocation (R28)."""
    async with client(gateway) as alice:
        gateway.accounts.revoked.add("alice-key")
        assert await alice.close_code() == 4401


async def test_floods_close_with_4429() -> None:
    """A client that talks without end is cut off."""
    live = LiveSettings(messages_per_second=1, message_burst=5)
    async with running_gateway(live) as gateway, client(gateway) as alice:
        for _ in range(10):
            await alice.say(type="ping")
        assert await alice.close_code() == 4429


async def test_a_slow_client_is_closed_with_1013_and_resumes_without_gap() -> None:
    """A client that does not read costs a bounded buffer; with its last id it misses nothing (LIVE-3, LIVE-4)."""
    async with running_gateway(LiveSettings(buffer=16)) as gateway:
        task = new_task()
        gateway.rows.owners[task] = "alice"
        await gateway.happen(state(task, "0-1", EventType.QUEUED), state(task, "1-1", EventType.RUNNING))
        ids: list[str] = []
        seq, big = 1, "x" * 20_000
        async with client(gateway, max_queue=1, compression=None) as slow:
            await slow.ask(type="subscribe", channel=f"task:{task}")
            ids += [(await slow.hear())["event"]["id"] for _ in range(2)]
            while gateway.hub.statistics.connections == 1 and seq < 3000:
                seq += 1
                await gateway.happen(chunk(task, 1, seq, big))
                await asyncio.sleep(0)
                if any(connection.outlet.closing for connection in gateway.hub._connections):
                    break
            with contextlib.suppress(ConnectionClosed):
                while True:
                    ids.append((await slow.hear())["event"]["id"])
            assert slow.connection.close_code == 1013
        async with client(gateway) as resumed:
            await resumed.ask(type="subscribe", channel=f"task:{task}", after=ids[-1])
            while ids[-1] != f"1-{seq}":
                ids.append((await resumed.hear())["event"]["id"])
        assert ids == ["0-1", *[f"1-{number}" for number in range(1, seq + 1)]]
        await until(lambda: gateway.hub.statistics.closed_slow == 1)


async def test_a_client_that_vanishes_leaves_nothing_behind(gateway: Gateway) -> None:
    """A cut connection frees its subscriptions."""
    task = new_task()
    gateway.rows.owners[task] = "alice"
    async with client(gateway) as alice:
        await alice.ask(type="subscribe", channel=f"task:{task}")
        await alice.ask(type="subscribe", channel="tasks")
        assert gateway.hub.statistics.subscriptions == 2
        alice.connection.transport.abort()
    await until(lambda: gateway.hub.statistics.connections == 0)
    assert gateway.hub.statistics.tasks_followed == 0


async def test_shutdown_closes_with_1012(gateway: Gateway) -> None:
    """Clients learn that the gateway restarts (LIVE-5)."""
    async with client(gateway) as alice:
        gateway.server.should_exit = True
        assert await alice.close_code() == 1012
