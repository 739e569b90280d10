"""A node's WebSocket ends quietly, whoever ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from neurogrid.dispatch.router import SocketLink
from neurogrid.protocol.link import LinkClosed


@pytest.mark.parametrize("error", [OSError(), WebSocketDisconnect(1006), RuntimeError("closed")])
def test_closing_what_is_gone_is_no_failure(error: Exception) -> None:
    """The node may be gone at the moment its gateway closes: nothing is raised, and nothing passes any more."""
    handed = iter([{"type": "websocket.connect"}])

    async def receive() -> Any:
        return next(handed)

    async def send(message: Any) -> None:
        if message["type"] == "websocket.close":
            raise error

    async def main() -> None:
        socket = WebSocket({"type": "websocket", "headers": []}, receive, send)
        await socket.accept()
        link = SocketLink(socket)
        await link.close(1011, "the gateway failed")
        with pytest.raises(LinkClosed):
            await link.send(b"{}")

    asyncio.run(main())
