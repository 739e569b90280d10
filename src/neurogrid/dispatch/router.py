"""`/v1/nodes/connect`: where nodes attach."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from neurogrid.core.errors import Unauthenticated
from neurogrid.core.http.websockets import LARGEST, allow
from neurogrid.dispatch.attach import NodeGate
from neurogrid.dispatch.connection import CLOSE_UNAUTHENTICATED
from neurogrid.nodes.joining import JoinTokens
from neurogrid.protocol.link import LinkClosed

router = APIRouter()

MAX_REASON = 123
"""Bytes of a close's reason (RFC 6455)."""


class SocketLink:
    """A ``Link`` over an accepted WebSocket of this gateway."""

    def __init__(self, websocket: WebSocket) -> None:
        """Speak on ``websocket``."""
        self._websocket = websocket
        self._closed: LinkClosed | None = None

    async def send(self, frame: bytes) -> None:
        """Send one frame as text. Raises ``LinkClosed``."""
        if self._closed is not None:
            raise self._closed
        try:
            await self._websocket.send({"type": "websocket.send", "text": frame.decode()})
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise self._lost(getattr(error, "code", 1006)) from error

    async def receive(self) -> bytes | str:
        """Return the next frame. Raises ``LinkClosed``."""
        if self._closed is not None:
            raise self._closed
        try:
            message = await self._websocket.receive()
        except RuntimeError as error:
            raise self._lost(1006) from error
        if message["type"] == "websocket.disconnect":
            raise self._lost(message.get("code", 1006), message.get("reason") or "")
        return cast("bytes | str", message.get("text") or message.get("bytes") or b"")

    def _lost(self, code: int, reason: str = "") -> LinkClosed:
        self._closed = self._closed or LinkClosed(code, reason)
        return self._closed

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket; idempotent."""
        if self._closed is None:
            self._lost(code, reason)
            try:
                await self._websocket.close(code, reason.encode()[:MAX_REASON].decode(errors="ignore"))
            except (WebSocketDisconnect, RuntimeError, OSError):  # the other side closed at the same moment
                return


@router.websocket("/v1/nodes/connect")
async def connect(websocket: WebSocket) -> None:
    """Attach a node: ``Authorization: Bearer <node token>``, then the node protocol of ``protocol.messages``.

    Close codes: 4401 bad token, also later when it is revoked or expires, 4403 the token does not allow such a
    node, or the node was removed, 4400 bad hello, 4409 the node attached anew, 4410 the session is lost, 1012
    the gateway restarts, 1011 it failed or the node does not read, 1002 protocol error.
    """
    tokens = cast("JoinTokens", websocket.state.join_tokens)
    gate = cast("NodeGate", websocket.state.gate)
    _, _, token = websocket.headers.get("authorization", "").partition(" ")
    await websocket.accept()
    try:
        scope = await tokens.admit(token.strip())
    except Unauthenticated as error:
        await websocket.close(CLOSE_UNAUTHENTICATED, error.detail[:MAX_REASON])
        return
    allow(websocket, LARGEST)
    await gate.serve(SocketLink(websocket), scope)
