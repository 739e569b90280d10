"""Conversations with a real gateway, held to the AsyncAPI document on both sides."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from neurogrid.auth.policy import Role
from tests.support.asyncapi import check, messages_of
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.until import PATIENCE

pytestmark = pytest.mark.asyncio


class Conversation:
    """One side of a WebSocket that believes nothing but the document; ``heard`` are the types it received."""

    def __init__(self, socket: ClientConnection, sends: str, receives: str) -> None:
        self._socket = socket
        self._sends = sends
        self._receives = receives
        self.heard: set[str] = set()

    async def say(self, **message: Any) -> None:
        frame = json.dumps(message)
        check(self._sends, frame)
        await self._socket.send(frame)

    async def hear(self, *types: str) -> dict[str, Any]:
        """Return the next message of one of ``types``, passing over others."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = check(self._receives, await self._socket.recv())
                self.heard.add(message["type"])
                if message["type"] in types:
                    return message


def url_of(gateway: RunningGateway, path: str) -> str:
    return gateway.url.replace("http", "ws", 1) + path


async def test_live_events(start: Start) -> None:
    """Everything a gateway says on /v1/ws is in the document: each message, and the events of each channel."""
    grid: RunningGateway = await start(live={"stats_interval": 0.05})
    admin: Account = await grid.account(Role.ADMIN)
    async with connect(url_of(grid, "/v1/ws"), proxy=None) as socket:
        talk = Conversation(socket, "receiveFromClient", "sendToClient")
        await talk.hear("welcome")
        await talk.say(type="authenticate", token=admin.key)
        await talk.hear("authenticated")
        await talk.say(type="subscribe", channel="tasks")
        assert "cursor" in await talk.hear("subscribed")
        task = await admin.submit("debug.sleep", {"seconds": 0.1, "chunks": 3})
        await talk.say(type="subscribe", channel=f"task:{task}", after="0-1")
        await talk.hear("subscribed")
        ended: set[str] = set()
        while len(ended) < 2:
            message = await talk.hear("event")
            if message["event"]["type"] == "task.completed":
                ended.add(message["channel"])
        for channel in ("system", "stats", "admin"):
            await talk.say(type="subscribe", channel=channel)
            await talk.hear("subscribed")
        await admin.http.post("/v1/admin/announcements", json={"message": "Hello.", "level": "warning"})
        await admin.http.post("/v1/nodes/tokens", json={"name": "told to operators"})
        wanted = {"system", "stats", "admin"}
        while wanted:
            wanted.discard((await talk.hear("event"))["channel"])
        await talk.say(type="unsubscribe", channel="tasks")
        await talk.hear("unsubscribed")
        await talk.say(type="list")
        await talk.hear("channels")
        await talk.say(type="ping")
        await talk.hear("pong")
        await talk.say(type="subscribe", channel="nonsense")
        await talk.hear("error")
    # A key does not end while one is connected; who signed in hears of it in auth/test_live.py.
    assert talk.heard == set(messages_of("sendToClient")) - {"expiring"}


async def test_a_node(start: Start) -> None:
    """A node written from the document alone is given a task, streams its output, and has its result committed."""
    grid: RunningGateway = await start(nodes=False)
    admin: Account = await grid.account(Role.ADMIN)
    token = (await admin.http.post("/v1/nodes/tokens", json={"name": "test"})).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(url_of(grid, "/v1/nodes/connect"), additional_headers=headers, proxy=None) as socket:
        talk = Conversation(socket, "receiveFromNode", "sendToNode")
        upper = {"name": "upper", "version": "1", "kind": "text", "streams": True}
        await talk.say(type="hello", name="by-hand", version="1", slots=1, models=[upper])
        await talk.hear("welcome")
        await talk.say(type="heartbeat", load=0.1)
        task = await admin.submit("upper", "some words")
        run = await talk.hear("assign")
        fence = {"task": run["task"], "attempt": run["attempt"]}
        text = run["input"].upper()
        await talk.say(type="chunk", **fence, seq=2, data={"text": text})
        await talk.say(type="result", **fence, seq=2, output={"text": text})
        assert (await talk.hear("committed"))["task"] == task
        assert (await admin.reaches(task, "completed"))["output"] == {"text": "SOME WORDS"}
        cancelled = await admin.submit("upper", "never mind")
        await talk.hear("assign")
        await admin.http.post(f"/v1/tasks/{cancelled}/cancel")
        assert (await talk.hear("cancel"))["task"] == cancelled
        await talk.say(type="drained")
