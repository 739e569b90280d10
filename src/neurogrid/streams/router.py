"""``GET /v1/ws`` and ``GET /v1/tasks/{id}/events``: live events for clients.

Both find what they need in the state of the application's lifespan: ``hub`` (``Hub``) and ``auth``
(``AuthService``).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response, WebSocket

from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import Identity, Permission
from neurogrid.core.http.openapi import problems
from neurogrid.protocol.events import START
from neurogrid.streams.hub import Hub
from neurogrid.streams.socket import Session
from neurogrid.streams.sse import EventStream, parse_cursor

router = APIRouter()

EXAMPLE = """retry: 1000

id: 1-1
event: task.running
data: {"id":"1-1","type":"task.running","task_id":"0190b0f0-…","at":"2026-11-22T08:00:00.000000Z","data":{}}

id: 1-2
event: task.chunk
data: {"id":"1-2","type":"task.chunk","task_id":"0190b0f0-…","at":"…","data":{"text":"A paper clip"}}

id: 1-3
event: task.completed
data: {"id":"1-3","type":"task.completed","task_id":"0190b0f0-…","at":"…","data":{"output":{"text":"A paper clip"}}}
"""
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events, as they happen, until the final one.",
        "content": {"text/event-stream": {"example": EXAMPLE}},
    },
    204: {"description": "The task is over and its final event is the one you name: do not reconnect."},
}


def hub_of(request: Request) -> Hub:
    """Return the gateway's hub."""
    hub: Hub = request.state.hub
    return hub


@router.get(
    "/v1/tasks/{task_id}/events",
    tags=["tasks"],
    summary="Follow a task",
    response_class=Response,
    responses={**problems(400, 401, 403, 404), **RESPONSES},
)
async def events(
    task_id: str,
    identity: Annotated[Identity, Depends(permitted(Permission.TASKS_READ))],
    hub: Annotated[Hub, Depends(hub_of)],
    last_event_id: Annotated[
        str | None, Header(description="Resume after this event.", examples=["1-17"])
    ] = None,
    after: Annotated[
        str | None,
        Query(
            description="The same, for clients that cannot set the header. The header wins.",
            examples=["1-17"],
        ),
    ] = None,
) -> Response:
    """Stream the task's events as server-sent events: states, progress, and output token by token.

    Each event's `id` is `<attempt>-<seq>`; reconnect with the last one as `Last-Event-ID`, to any gateway, and
    nothing is missing or repeated. `task.retrying` and `task.snapshot` replace the text so far. The stream ends after
    `task.completed`, `task.failed` or `task.canceled`.
    """
    await hub.check_owner(identity, task_id)
    cursor = parse_cursor(last_event_id, after)
    if cursor > START and await hub.is_over(task_id, cursor):
        return Response(status_code=204)
    return EventStream(hub, identity, task_id, cursor)


@router.websocket("/v1/ws")
async def live(websocket: WebSocket) -> None:
    """Live channels over one WebSocket; JSON text frames both ways.

    Client: ``authenticate{token}`` (within 10 s, or at the handshake by ``Authorization: Bearer``, ``X-API-Key`` or
    ``Sec-WebSocket-Protocol: bearer, <token>``), ``subscribe{channel, after?}``, ``unsubscribe{channel}``, ``list``,
    ``ping``. Server: ``welcome``, ``authenticated``, ``subscribed``, ``unsubscribed``, ``channels``, ``pong``,
    ``error{code, message, channel?}`` and ``event{channel, event, cursor?}``.

    Channels: ``task:<id>`` (resume with ``after`` = last event id), ``tasks`` (state events of all one's tasks;
    resume with the last ``cursor``), ``system`` and ``stats`` (live only). Close codes: 4401 bad or expired
    credentials, 4403 not allowed, 4408 no authentication in time, 4429 too many connections or messages, 1009 a
    message over 16 KB before authentication, or far over 64 KB after it, 1012 restarting, 1013 too slow (reconnect
    and resume).
    """
    await Session(websocket, websocket.state.hub, websocket.state.auth).run()
