"""What the limits say on every answer, and what is given back when an answer shows that nothing was made (LIM-5).

Pure ASGI, since it has to reach answers that are ready-made, streamed, or given by an exception's handler.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CARD: Final = "neurogrid.limits"
_REPLAYED: Final = b"idempotency-replayed"


class Card:
    """What one request was told by its limits."""

    __slots__ = ("amount", "left", "policy", "reset", "settle", "tier", "until")

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.tier = ""
        self.policy = b""
        self.amount = 0
        self.left = 0
        self.reset = 0
        self.until = 0
        self.settle: Callable[[bool], None] | None = None
        """Gives back what was taken for something to be made; told whether nothing was made at all."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers, with the figures of the window of which least is left."""
        tier = (b"x-ratelimit-tier", self.tier.encode())
        if not self.amount:
            return [tier]
        amount, left, reset = b"%d" % self.amount, b"%d" % self.left, b"%d" % self.reset
        return [
            (b"ratelimit-limit", amount),
            (b"ratelimit-remaining", left),
            (b"ratelimit-reset", reset),
            (b"ratelimit-policy", self.policy),
            (b"x-ratelimit-limit", amount),
            (b"x-ratelimit-remaining", left),
            (b"x-ratelimit-reset", b"%d" % self.until),
            tier,
        ]


class LimitHeaders:
    """Puts the card of a request onto its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        card = scope[CARD] = Card()

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and card.tier:
                headers = list(message.get("headers", ()))
                if card.settle is not None:
                    card.settle(_made_nothing(message["status"], headers))
                message["headers"] = headers + card.headers()
            await send(message)

        await self._app(scope, receive, with_headers)


def _made_nothing(status: int, headers: list[tuple[bytes, bytes]]) -> bool:
    if status >= HTTPStatus.BAD_REQUEST:
        return (
            status < HTTPStatus.INTERNAL_SERVER_ERROR
        )  # after those something may have been made all the same
    return any(name == _REPLAYED for name, _ in headers)
