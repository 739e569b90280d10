"""WebSockets whose messages are bounded by what is known of who sends them.

A server has one limit for all messages, and nodes need a large one: without more, anybody could have the process
hold 32 MB for every connection before having said who they are.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

KIB: Final = 1024
STRANGER: Final = 16 * KIB
"""Bytes of a message from somebody who has not authenticated."""
LARGEST: Final = 32 * 1024 * KIB
"""Bytes of a message from a node: results that were not confirmed come with its hello."""
_ALLOW: Final = "neurogrid.allow"
_FRAGMENT: Final = 64
"""What an empty fragment costs to hold."""
_TOO_BIG: Final = 1009


def allow(websocket: WebSocket, size: int) -> None:
    """Let the client send messages of up to ``size`` bytes from now on."""
    grant = websocket.scope.get("extensions", {}).get(_ALLOW)
    if grant is not None:  # another server than ours has but its own limit
        grant(size)


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """The server's side of a connection; give it to uvicorn as ``ws``.

    It closes with 1009 as soon as it holds more of an unfinished message than is allowed. What is whole goes to the
    application, which has to look at its size: up to that of one read from the socket.
    """

    _allowed = STRANGER

    def handle_connect(self, event: Request) -> None:
        """Offer the application to allow more."""
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)
        if scope is not None:
            scope["extensions"][_ALLOW] = self._allow

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is too much of one message."""
        super().data_received(data)
        if not self.handshake_initiated or self.close_sent or self._held() <= self._allowed:
            return
        if self.handshake_complete:
            self.conn.fail(_TOO_BIG, f"a message may have {self._allowed} bytes")
            self.handle_parser_exception()
        else:  # nothing can be said before the application has accepted
            self.transport.close()

    def _held(self) -> int:
        fragments = sum(map(len, self.frames)) + _FRAGMENT * len(self.frames)
        return len(self.conn.reader.buffer) + fragments

    def _allow(self, size: int) -> None:
        self._allowed = size
