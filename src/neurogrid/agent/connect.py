"""The node's way to a gateway over WebSocket, and the patience to try again."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from neurogrid.protocol.link import Link, LinkClosed

PATH = "/v1/nodes/connect"
MAX_FRAME = 32 * 1024 * 1024
_OPEN_TIMEOUT = 10.0
_PING_INTERVAL = 5.0
_PING_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 2.0
_REFUSALS = {401, 403}
REFUSAL_CODES = frozenset({4401, 4403})
"""WebSocket close codes after which trying again with the same token is pointless."""

Connect = Callable[[], Awaitable[Link]]


class NodeRefused(Exception):
    """The gateway does not want this node, and trying again would not change its mind."""


class WebSocketLink:
    """A ``Link`` over a WebSocket connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        """Send one frame as text, waiting while the socket is full. Raises ``LinkClosed``."""
        try:
            await self._connection.send(frame, text=True)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def receive(self) -> bytes | str:
        """Return the next frame. Raises ``LinkClosed``."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; idempotent."""
        await self._connection.close(code, reason)


def web_socket(urls: str | Sequence[str], token: str) -> Connect:
    """Return what opens a connection to a gateway; a path is added to a URL that has none.

    Of several ``urls``, all of one grid, each call tries the next, beginning with the first: who calls again
    was not connected, or is not any more. What it returns raises ``NodeRefused`` when the gateway refuses the
    token, ``OSError`` when it cannot be reached now. Raises ``ValueError`` for a URL that is none.
    """
    addresses = deque(node_url(url) for url in ([urls] if isinstance(urls, str) else urls))

    async def open_link() -> Link:
        address = addresses[0]
        addresses.rotate(-1)
        try:
            connection = await connect(
                address,
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,
                proxy=None,
                max_size=MAX_FRAME,
                open_timeout=_OPEN_TIMEOUT,
                ping_interval=_PING_INTERVAL,
                ping_timeout=_PING_TIMEOUT,
                close_timeout=_CLOSE_TIMEOUT,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status in _REFUSALS:
                msg = f"the gateway at {address} refused the node's token (HTTP {status})"
                raise NodeRefused(msg) from error
            raise LinkClosed(1006, f"the gateway answered HTTP {status}") from error
        except InvalidHandshake as error:
            raise LinkClosed(1006, str(error)) from error
        return WebSocketLink(connection)

    return open_link


def node_url(url: str) -> str:
    """Return the WebSocket address of the node endpoint for a gateway's URL. Raises ``ValueError``."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    schemes = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        msg = f"a gateway's URL looks like ws://host:port, not {url!r}"
        raise ValueError(msg)
    path = parts.path.rstrip("/")
    return urlunsplit((schemes[parts.scheme], parts.netloc, path or PATH, parts.query, ""))


class Backoff:
    """Delays between tries: doubling from ``first`` to ``longest`` seconds, each cut by up to a half.

    The randomness keeps a thousand nodes from coming back in the same instant.
    """

    def __init__(self, first: float = 0.2, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._tries = 0

    def next(self) -> float:
        """Return how long to wait now."""
        ceiling = min(self._first * 2.0**self._tries, self._longest)
        self._tries = min(self._tries + 1, 16)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  spreading, not secrecy

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._tries = 0


def _closed(error: ConnectionClosed) -> LinkClosed:
    close = error.rcvd
    return LinkClosed(close.code, close.reason) if close else LinkClosed()
