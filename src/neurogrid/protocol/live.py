"""The messages of the client WebSocket ``/v1/ws``, typed for those who write a client, in whatever language.

``protocol.asyncapi`` makes a document of them; a test holds the gateway's frames to it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from neurogrid.protocol.events import EventType

EventCursor = Annotated[str, Meta(pattern=r"^[0-9]{1,15}-[0-9]{1,15}$", examples=["1-17"])]
Channel = Annotated[str, Meta(examples=["task:019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10", "tasks"])]


class LiveMessage(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of all messages."""


# --- client -> gateway -------------------------------------------------------------------------


class Authenticate(LiveMessage, frozen=True, tag="authenticate"):
    """Says who is there, within 10 s of connecting unless the handshake said so; again to renew."""

    token: str


class Subscribe(LiveMessage, frozen=True, tag="subscribe"):
    """Follow a channel. ``after`` resumes: for ``task:<id>`` the last event's id, for ``tasks`` the last cursor."""

    channel: Channel
    after: str | None = None


class Unsubscribe(LiveMessage, frozen=True, tag="unsubscribe"):
    """Follow a channel no longer."""

    channel: Channel


class ListChannels(LiveMessage, frozen=True, tag="list"):
    """Asks which channels this connection follows."""


class Ping(LiveMessage, frozen=True, tag="ping"):
    """Asks for a ``pong``; also before authentication."""


# --- gateway -> client -------------------------------------------------------------------------


class Greeting(LiveMessage, frozen=True, tag="welcome"):
    """The first message. The gateway pings every ``heartbeat`` seconds on the level of WebSocket."""

    heartbeat: float
    channels: list[str]


class Authenticated(LiveMessage, frozen=True, tag="authenticated"):
    """The credential is good; until ``expires_at``, if it has an end."""

    user_id: str
    expires_at: str | UnsetType = UNSET


class Expiring(LiveMessage, frozen=True, tag="expiring"):
    """The credential ends in a minute or less: send ``authenticate`` with a newer one, or be closed with 4401."""

    expires_at: str


class Subscribed(LiveMessage, frozen=True, tag="subscribed"):
    """Events of the channel follow. ``cursor``, on ``tasks`` only, is the place from which they do."""

    channel: Channel
    cursor: str | UnsetType = UNSET


class Unsubscribed(LiveMessage, frozen=True, tag="unsubscribed"):
    """No more events of the channel follow."""

    channel: Channel


class Channels(LiveMessage, frozen=True, tag="channels"):
    """What this connection follows, and what there is."""

    channels: list[str]
    available: list[str]


class Pong(LiveMessage, frozen=True, tag="pong"):
    """The answer to ``ping``."""


class Problem(LiveMessage, frozen=True, tag="error"):
    """A message was refused; the connection stays. ``code`` is stable and for programs."""

    code: str
    message: str
    channel: str | UnsetType = UNSET


class TaskEvent(msgspec.Struct, frozen=True):
    """What happened to a task. ``task.retrying`` and ``task.snapshot`` replace the text so far."""

    id: EventCursor
    type: EventType
    task_id: str
    at: str
    data: dict[str, Any]


class Announcement(msgspec.Struct, frozen=True):
    """What an administrator says to everybody."""

    id: str
    type: Literal["system.announcement"]
    at: str
    message: str
    level: Literal["info", "warning", "critical"]


class Statistics(msgspec.Struct, frozen=True):
    """Figures of the grid (``tasks``, ``nodes``) and of this gateway (``connections``, ``journal``)."""

    tasks: dict[str, int]
    nodes: dict[str, int]
    connections: dict[str, int]
    journal: dict[str, int]


class AdminNews(msgspec.Struct, frozen=True):
    """What happened to the grid, to whoever may know of that kind of news; what is in ``data`` depends on ``type``.

    ``node.connected`` and ``node.left``: ``node``, ``name``, ``gateway``. ``limit.hit``: ``caller``, ``tier``, ``window``,
    ``path``, and ``sign_in.delayed``: ``place``, ``seconds``; the same is not said again for ten seconds.
    ``audit.entry``: an entry of the audit log.
    """

    type: Literal["node.connected", "node.left", "limit.hit", "sign_in.delayed", "audit.entry"]
    at: str
    data: dict[str, Any]


NEWS = (TaskEvent, Announcement, Statistics, AdminNews)
"""What an event can be."""
Event = Annotated[
    msgspec.Raw,
    Meta(extra_json_schema={"anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in NEWS]}),
]


class ChannelEvent(LiveMessage, frozen=True, tag="event"):
    """News of a channel: a ``TaskEvent`` on ``task:<id>`` and ``tasks``, else what the channel is about.

    ``cursor``, on ``tasks`` only, is what resumes after this event.
    """

    channel: Channel
    event: Event
    cursor: str | UnsetType = UNSET


FromClient = Authenticate | Subscribe | Unsubscribe | ListChannels | Ping
ToClient = (
    Greeting | Authenticated | Expiring | Subscribed | Unsubscribed | Channels | Pong | Problem | ChannelEvent
)
