"""Frames as clients see them. An event is rendered once for all who read it in the same form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from neurogrid.protocol.events import Event
from neurogrid.streams.outlet import Frame

Render = Callable[[Event], Frame]
_encode = msgspec.json.Encoder().encode


def message(type: str, **fields: Any) -> str:
    """Return a control message of the WebSocket protocol; fields that are ``None`` are left out."""
    present = {name: value for name, value in fields.items() if value is not None}
    return _encode({"type": type, **present}).decode()


def channel_event(channel: str, event: bytes, cursor: str | None = None) -> str:
    """Return ``event``, raw JSON, as it comes over ``channel``."""
    text = event.decode(errors="replace")
    if cursor is None:
        return f'{{"type":"event","channel":"{channel}","event":{text}}}'
    return f'{{"type":"event","channel":"{channel}","cursor":{_encode(cursor).decode()},"event":{text}}}'


def websocket_event(event: Event) -> str:
    """Return an event of a task's own channel."""
    return channel_event(f"task:{event.task}", event.raw)


def sse_event(event: Event) -> bytes:
    """Return an event as a server-sent event.

    The payload comes from nodes as it is; a line break in it can only be white space between tokens of JSON.
    """
    data = event.raw
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(event.id).encode(), event.type.value.encode(), data)
