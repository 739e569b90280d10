"""Whom a request comes from when it comes through proxies: only those named by a setting are believed (HTTP-4).

Each proxy adds to ``X-Forwarded-For`` whom it was asked by, at the right end; what stands further left anybody may
have made up. So the list is read from the right, and the first that is no proxy of ours is the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from neurogrid.core.networks import Address, parse, read

_FORWARDED_FOR: Final = b"x-forwarded-for"
_FORWARDED_PROTO: Final = b"x-forwarded-proto"
_SECURE: Final = {"http": "https", "ws": "wss"}
_MOST_HOPS: Final = 32


class TrustedProxies:
    """Puts the client, and whether it came by TLS, where everybody looks for them: into the scope."""

    def __init__(self, app: ASGIApp, networks: str) -> None:
        """Believe proxies of these networks, separated by commas. Raises ``ValueError``."""
        self._app = app
        self._trusted = read(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] != "lifespan" and scope.get("client") and scope["client"][0] in self._trusted:
            scope = self._seen_through(scope)
        await self._app(scope, receive, send)

    def _seen_through(self, scope: Scope) -> Scope:
        hops: list[str] = []
        changes: dict[str, Any] = {}
        for name, value in scope["headers"]:
            if name == _FORWARDED_FOR:
                hops += value.decode("latin-1").split(",")
            elif name == _FORWARDED_PROTO and value.strip().lower() == b"https":
                changes["scheme"] = _SECURE.get(scope["scheme"], scope["scheme"])
        client = self._client(reversed(hops[-_MOST_HOPS:]))
        if client is not None:
            changes["client"] = (client, 0)
        return {**scope, **changes}

    def _client(self, hops: Iterable[str]) -> str | None:
        """Return the first from the right that is no proxy of ours; what is no address ends the walk."""
        last = None
        for hop in hops:
            address = _address(hop)
            if address is None:
                return last
            last = str(address)
            if last not in self._trusted:
                return last
        return last


def _address(text: str) -> Address | None:
    """Return an address written with or without port and brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parse(text)
