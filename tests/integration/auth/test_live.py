"""WebSockets of people who signed in: their tokens end while they are connected."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from neurogrid.streams import credentials
from tests.support.asyncapi import check
from tests.support.door import PASSWORD, SECRET, Door
from tests.support.gateway import RunningGateway, Start

pytestmark = pytest.mark.asyncio


async def hear(socket: ClientConnection) -> dict[str, Any]:
    return check("sendToClient", await socket.recv())


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(orjson.dumps(message).decode())


def at(grid: RunningGateway, **headers: str) -> Any:
    url = grid.url.replace("http", "ws") + "/v1/ws"
    return connect(url, additional_headers=headers, proxy=None)


async def code_of(socket: ClientConnection) -> int:
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass
    assert socket.close_code is not None
    return socket.close_code


async def test_a_token_that_ends_and_one_that_is_renewed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is connected is told that the token ends, goes on with a newer one, and else is closed with 4401."""
    grid = await start(secret_key=SECRET, auth={"access_token": 6.0})
    monkeypatch.setattr(credentials, "WARNING", 5.0)
    http = await grid.client()
    account = {"email": "a@b.c", "password": PASSWORD}
    await http.post("/v1/auth/register", json=account)

    async def token() -> str:
        return str((await http.post("/v1/auth/token", json=account)).json()["access_token"])

    async with at(grid) as socket:
        assert (await hear(socket))["type"] == "welcome"
        await say(socket, type="authenticate", token=await token())
        first = await hear(socket)
        assert first["type"] == "authenticated"
        expiring = await hear(socket)
        assert expiring == {"type": "expiring", "expires_at": first["expires_at"]}
        await say(socket, type="authenticate", token=await token())
        second = await hear(socket)
        assert second["type"] == "authenticated"
        assert second["expires_at"] >= first["expires_at"]
        assert (await hear(socket))["type"] == "expiring"
        assert await code_of(socket) == 4401


async def test_a_session_that_ends(door: Door) -> None:
    """A socket is closed with 4401 within seconds after its session was revoked; another one's stays."""
    ada = await door.register()
    ends, stays = await ada.tokens(), await ada.tokens()
    bearer = [{"Authorization": f"Bearer {each['access_token']}"} for each in (ends, stays)]
    async with at(door.grid, **bearer[0]) as first, at(door.grid, **bearer[1]) as second:
        for socket in (first, second):
            assert [(await hear(socket))["type"] for _ in range(2)] == ["welcome", "authenticated"]
        assert (await door.post("logout", ends["access_token"])).status_code == 204
        assert await code_of(first) == 4401
        await say(second, type="ping")
        assert (await hear(second))["type"] == "pong"


async def test_bad_tokens(door: Door) -> None:
    """A token that is none, or whose session has ended, is 4401, at the handshake and after it."""
    found = await (await door.register()).tokens()
    await door.post("logout", found["access_token"])
    for token in (found["access_token"], found["refresh_token"], "eyJ" + "x" * 50):
        async with at(door.grid, Authorization=f"Bearer {token}") as socket:
            assert await code_of(socket) == 4401
        async with at(door.grid) as socket:
            await say(socket, type="authenticate", token=token)
            assert await code_of(socket) == 4401


async def test_a_cookie_at_the_handshake(door: Door) -> None:
    """A page of ours is let in by its cookie; a page of another origin, or none, is a stranger with the same cookie."""
    answer = await (await door.register()).sign_in(cookie=True)
    access = next(
        each.partition(";")[0]
        for each in answer.headers.get_list("set-cookie")
        if each.startswith("ng_access")
    )
    async with at(door.grid, Cookie=access, Origin=door.grid.url) as socket:
        assert [(await hear(socket))["type"] for _ in range(2)] == ["welcome", "authenticated"]
    for origin in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {}):
        async with at(door.grid, Cookie=access, **origin) as socket:
            assert (await hear(socket))["type"] == "welcome"
            await say(socket, type="list")
            assert (await hear(socket))["code"] == "unauthenticated"
