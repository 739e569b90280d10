"""The `admin` channel: who may follow it, what it tells, and that it ends with the right to see it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import update
from websockets.asyncio.client import ClientConnection

from neurogrid.agent.connect import web_socket
from neurogrid.auth.policy import Permission, Role
from neurogrid.auth.tables import User
from neurogrid.core.settings_limits import ProLimits
from neurogrid.runners.debug import DebugEcho
from tests.integration.auth.test_live import at, code_of, hear, say
from tests.support.door import OTHER, SECRET
from tests.support.gateway import RunningGateway, Start, node
from tests.support.limits import GENEROUS
from tests.support.until import PATIENCE

pytestmark = pytest.mark.asyncio


async def open_as(socket: ClientConnection, channel: str = "admin") -> dict[str, Any]:
    """Follow the channel and return the answer."""
    await say(socket, type="subscribe", channel=channel)
    while (heard := await hear(socket))["type"] in {"welcome", "authenticated"}:
        pass
    return heard


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def news_of(socket: ClientConnection, type: str) -> dict[str, Any]:
    """Return the data of the next news of a kind."""
    async with asyncio.timeout(PATIENCE):
        while True:
            heard = await hear(socket)
            if heard["type"] == "event" and heard["event"]["type"] == type:
                data: dict[str, Any] = heard["event"]["data"]
                return data


async def test_what_the_channel_tells(start: Start) -> None:
    """Limits hit, sign-ins delayed and nodes that come and go reach operators; the audit log administrators alone."""
    limits = GENEROUS.model_copy(update={"pro": ProLimits(requests="1/hour", tasks="")})
    grid: RunningGateway = await start(limits=limits, secret_key=SECRET)
    root, operator = await grid.account(Role.ADMIN), await grid.account(Role.OPERATOR)
    ada = await grid.account()
    async with at(grid, **bearer(root.key)) as first, at(grid, **bearer(operator.key)) as second:
        for socket in (first, second):
            assert (await open_as(socket))["type"] == "subscribed"
        for _ in range(4):
            await ada.http.get("/v1/models")
        stranger = await grid.client()
        for _ in range(3):
            await stranger.post("/v1/auth/token", json={"email": ada.email, "password": OTHER})
        for socket in (first, second):
            hit = await news_of(socket, "limit.hit")
            assert (hit["caller"], hit["window"], hit["path"]) == (f"u:{ada.id}", "requests", "/v1/models")
            assert set(await news_of(socket, "sign_in.delayed")) == {"place", "seconds"}
        entry = await news_of(first, "audit.entry")
        assert entry["action"] == "sign_in.failed"
        assert entry["seq"] > 0
        token = (await root.http.post("/v1/nodes/tokens", json={})).json()["token"]
        connect = web_socket(f"{grid.url.replace('http', 'ws', 1)}/v1/nodes/connect", token)
        async with node(connect, [DebugEcho()], "fresh"):
            assert (await news_of(second, "node.connected"))["name"] == "fresh"
        assert (await news_of(second, "node.left"))["name"] == "fresh"
        await say(second, type="ping")
        while (heard := await hear(second))["type"] != "pong":
            assert heard["event"]["type"] != "audit.entry"


async def test_who_may_follow_it(start: Start) -> None:
    """Users may not, nor may a key that was made for less; a renewal by less ends what was begun."""
    grid: RunningGateway = await start()
    ada, operator = await grid.account(), await grid.account(Role.OPERATOR)
    less = await grid.auth.create_key(operator.email, "less", None, frozenset({Permission.TASKS_READ}))
    for key in (ada.key, less):
        async with at(grid, **bearer(key)) as socket:
            refused = await open_as(socket)
            assert (refused["type"], refused["code"], refused["channel"]) == ("error", "forbidden", "admin")
    async with at(grid, **bearer(operator.key)) as socket:
        assert (await open_as(socket))["type"] == "subscribed"
        await say(socket, type="authenticate", token=less)
        assert (await hear(socket))["type"] == "authenticated"
        assert await hear(socket) == {"type": "unsubscribed", "channel": "admin"}
        await say(socket, type="list")
        assert (await hear(socket))["channels"] == []


async def test_a_role_that_is_lost(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """R28: whoever is no operator any more is told nothing from the next look at identities on."""
    monkeypatch.setattr("neurogrid.streams.hub.RECHECK_EVERY", 0.1)
    grid: RunningGateway = await start()
    operator = await grid.account(Role.OPERATOR)
    async with at(grid, **bearer(operator.key)) as socket:
        assert (await open_as(socket))["type"] == "subscribed"
        async with grid.database.transaction() as transaction:
            await transaction.execute(update(User).where(User.id == operator.id).values(role="user"))
        assert await code_of(socket) == 4401
