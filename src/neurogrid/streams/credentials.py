"""What a client of the WebSocket shows to say who it is, and what happens when that expires while it is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from starlette.websockets import WebSocket

from neurogrid.auth.deps import cookies_of
from neurogrid.core.ids import now

SUBPROTOCOL = "bearer"
WARNING = 60.0
"""Seconds before the end of a credential at which its holder is told."""


class Expiry:
    """Waits for the end of one client's credential, which a newer one postpones."""

    def __init__(self, warn: Callable[[datetime], None], end: Callable[[], None]) -> None:
        """Call ``warn`` a minute before, and ``end`` then."""
        self._warn = warn
        self._end = end
        self._timers: list[asyncio.TimerHandle] = []

    def set(self, expires_at: datetime | None) -> None:
        """Wait for ``expires_at``; ``None`` never comes."""
        self.cancel()
        if expires_at is None:
            return
        loop = asyncio.get_running_loop()
        left = (expires_at - now()).total_seconds()
        self._timers = [
            loop.call_later(max(0.0, left - WARNING), self._warn, expires_at),
            loop.call_later(max(0.0, left), self._end),
        ]

    def cancel(self) -> None:
        """Wait no longer."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []


def handshake_token(websocket: WebSocket) -> tuple[str | None, str | None]:
    """Return the credential given at the handshake, and the subprotocol to answer with.

    Browsers cannot set headers; they send ``Sec-WebSocket-Protocol: bearer, <token>``, or the cookie of a page of ours.
    """
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    offered: list[str] = websocket.scope.get("subprotocols", [])
    asked = SUBPROTOCOL if SUBPROTOCOL in offered else None
    if scheme.lower() == "bearer" and token.strip():
        return token.strip(), asked
    if asked and offered[0] == SUBPROTOCOL and len(offered) > 1:
        return offered[1], asked
    key = websocket.headers.get("x-api-key")
    cookies = cookies_of(websocket)
    if key is None and cookies is not None:
        key = cookies.at_handshake(websocket)
    return key, asked
