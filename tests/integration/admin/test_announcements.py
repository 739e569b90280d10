"""Announcements."""

from __future__ import annotations

import orjson
import pytest
from websockets.asyncio.client import connect

from neurogrid.auth.policy import Role
from tests.support.gateway import Account, RunningGateway

pytestmark = pytest.mark.asyncio


async def test_everybody_connected_reads_it(grid: RunningGateway, ada: Account) -> None:
    """What an administrator announces reaches every subscriber of `system`, as it was answered."""
    admin = await grid.account(Role.ADMIN)
    url = grid.url.replace("http", "ws") + "/v1/ws"
    async with connect(url, additional_headers={"Authorization": f"Bearer {ada.key}"}, proxy=None) as socket:
        await socket.send('{"type":"subscribe","channel":"system"}')
        heard = [orjson.loads(await socket.recv()) for _ in range(3)]
        assert [message["type"] for message in heard] == ["welcome", "authenticated", "subscribed"]
        text = "Maintenance at 22:00 UTC. \U0001f6e0 <b>\r\n"
        answer = await admin.http.post("/v1/admin/announcements", json={"message": text, "level": "warning"})
        assert answer.status_code == 201
        event = orjson.loads(await socket.recv())
        assert (event["type"], event["channel"]) == ("event", "system")
        assert event["event"] == answer.json()
        assert (event["event"]["message"], event["event"]["level"]) == (text, "warning")


@pytest.mark.parametrize("role", [Role.USER, Role.OPERATOR])
async def test_only_administrators_announce(sqlite_grid: RunningGateway, role: Role) -> None:
    """Nobody else speaks to everybody."""
    account = await sqlite_grid.account(role)
    answer = await account.http.post("/v1/admin/announcements", json={"message": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_wrong_announcements_are_refused(sqlite_grid: RunningGateway) -> None:
    """Empty and endless ones, unknown levels, and fields that the server sets."""
    admin = await sqlite_grid.account(Role.ADMIN)
    for body, field in (
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": "x" * 2001}, "message"),
        ({"message": "x", "level": "panic"}, "level"),
        ({"message": "x", "id": "1"}, "id"),
    ):
        answer = await admin.http.post("/v1/admin/announcements", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
