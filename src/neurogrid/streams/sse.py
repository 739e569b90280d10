"""A task's events as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import BadRequest, FieldError
from neurogrid.protocol.events import FINAL, START, EventId
from neurogrid.streams.frames import sse_event
from neurogrid.streams.hub import Hub
from neurogrid.streams.outlet import GONE, TOO_SLOW, Outlet

RETRY_MS = 1000
"""What an ``EventSource`` waits before it reconnects."""
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",
}
_HEARTBEAT = b": still here\n\n"
_ENDINGS = tuple(b"\nevent: %b\n" % type.value.encode() for type in FINAL)


def parse_cursor(last_event_id: str | None, after: str | None) -> EventId:
    """Return where to begin; the header, which an ``EventSource`` sends, wins. Raises ``BadRequest``."""
    for name, value in (("Last-Event-ID", last_event_id), ("after", after)):
        if value:
            try:
                return EventId.parse(value)
            except ValueError as error:
                raise BadRequest(f"{name}: {error}.", errors=[FieldError(name, str(error))]) from error
    return START


class EventStream(Response):
    """Sends a task's events until the final one, or until the client goes, is too slow, or the hub closes.

    Written as a response of its own because a generator cannot act while its client takes nothing.
    """

    def __init__(self, hub: Hub, identity: Identity, task_id: str, after: EventId) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._hub = hub
        self._identity = identity
        self._task_id = task_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Serve the stream."""
        connection = self._hub.connect()
        outlet = connection.outlet
        listener = asyncio.create_task(_until_gone(receive, lambda: outlet.close(GONE)))
        over = False
        try:
            self._hub.authenticated(connection, self._identity)
            self._hub.follow_task(connection, self._task_id, self._after, sse_event)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send(send, b"retry: %d\n\n" % RETRY_MS)
            while not over and (frame := await self._next(outlet)) is not None:
                await self._send(send, frame)
                over = outlet.empty and _is_final(frame)
            await self._send(send, b"", more=False)
        except TimeoutError:
            outlet.close(TOO_SLOW)
        except (OSError, ClientDisconnect):
            pass
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            outlet.close(GONE)
            self._hub.disconnect(connection)
        if not over and outlet.closing in {GONE, TOO_SLOW}:
            self._hub.left(self._task_id)

    async def _next(self, outlet: Outlet) -> bytes | None:
        try:
            async with asyncio.timeout(self._hub.live.heartbeat):
                frame = await outlet.next()
        except TimeoutError:
            return _HEARTBEAT
        return frame.encode() if isinstance(frame, str) else frame

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._hub.live.heartbeat):
            await send({"type": "http.response.body", "body": body, "more_body": more})


def _is_final(frame: bytes) -> bool:
    head = frame[: frame.find(b"\ndata: ") + 1]
    return any(ending in head for ending in _ENDINGS)


async def _until_gone(receive: Receive, gone: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()
