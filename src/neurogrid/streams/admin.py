"""The ``admin`` channel: what operators and administrators want to see at once, live only (design §4).

What a gateway notices goes over the bus to all of them. Entries of the audit log are rows of many transactions, so each
gateway on which somebody watches reads those that are new.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog

from neurogrid.auth.policy import ADMIN_NEWS, Identity, Permission
from neurogrid.core.ids import now
from neurogrid.events.bus import Bus, Subscription
from neurogrid.protocol.events import isoformat
from neurogrid.streams.connection import Connection
from neurogrid.streams.frames import channel_event

log = structlog.get_logger(__name__)

CHANNEL: Final = "admin"
AUDIT_EVERY: Final = 1.0
SAID_AGAIN_AFTER: Final = 10.0
"""Seconds for which the same is not said again of the same subject: whoever is refused a thousand times is one piece of
news.
"""
MOST_SUBJECTS: Final = 1000

ReadAudit = Callable[[int | None], Awaitable[tuple[int, list[dict[str, Any]]]]]
"""Given the number of an entry, returns the newest number and the entries between; ``None``: no entries."""
Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class Notices:
    """Tells all gateways what this one notices."""

    def __init__(self, bus: Bus, spawn: Spawn) -> None:
        """Send over ``bus``, in the background."""
        self._bus = bus
        self._spawn = spawn
        self._said: dict[tuple[str, str], float] = {}

    def tell(self, type: str, subject: str | None = None, **data: Any) -> None:
        """Say that something of ``type`` (see ``ADMIN_NEWS``) happened; of one ``subject`` only now and then."""
        if subject is not None and not self._is_news(type, subject):
            return
        self._spawn(self._bus.send(CHANNEL, news(type, data)), "admin_news")

    def _is_news(self, type: str, subject: str) -> bool:
        moment, key = time.monotonic(), (type, subject)
        said = self._said.pop(key, None)
        fresh = said is None or moment - said >= SAID_AGAIN_AFTER
        if len(self._said) >= MOST_SUBJECTS:
            del self._said[next(iter(self._said))]
        self._said[key] = moment if fresh or said is None else said
        return fresh


def news(type: str, data: dict[str, Any], at: str | None = None) -> bytes:
    """Return an event of the channel as JSON."""
    return msgspec.json.encode({"type": type, "at": at or isoformat(now()), "data": data})


class AdminFeed:
    """Serves the channel on one gateway. Each piece of news goes to those who may see it at that moment."""

    def __init__(self, bus: Bus) -> None:
        """Nobody watches yet."""
        self._bus = bus
        self._watchers: set[Connection] = set()
        self._listening: Subscription | None = None
        self._seen: int | None = None
        self.read_audit: ReadAudit | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._listening = await self._bus.listen(CHANNEL, self._hear)

    async def close(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            await self._listening.close()

    @staticmethod
    def open_to(identity: Identity | None) -> bool:
        """Tell whether somebody may follow the channel: whoever may see anything of it."""
        return identity is not None and any(identity.may(each) for each in ADMIN_NEWS.values())

    async def begin(self) -> None:
        """Find out where the audit log ends, so that whoever follows next misses nothing from now on."""
        if self._seen is None and self.read_audit is not None:
            self._seen, _ = await self.read_audit(None)

    def follow(self, connection: Connection) -> None:
        """Serve a connection from now on."""
        self._watchers.add(connection)
        connection.leave[CHANNEL] = lambda: self._watchers.discard(connection)

    def _hear(self, payload: bytes) -> None:
        try:
            type_ = msgspec.json.decode(payload)["type"]
        except (msgspec.MsgspecError, TypeError, KeyError):
            return
        permission = ADMIN_NEWS.get(type_)
        if permission is not None:
            self._offer(payload, permission)

    def _offer(self, payload: bytes, permission: Permission) -> None:
        frame = channel_event(CHANNEL, payload)
        for connection in list(self._watchers):
            if connection.identity is not None and connection.identity.may(permission):
                connection.outlet.offer(frame)

    async def look_at_audit(self) -> None:
        """Tell of new entries of the audit log, if anybody is there who may see them."""
        permission = ADMIN_NEWS["audit.entry"]
        watched = any(each.identity and each.identity.may(permission) for each in self._watchers)
        if not watched or self.read_audit is None:
            self._seen = None
            return
        self._seen, entries = await self.read_audit(self._seen)
        for entry in entries:
            self._offer(news("audit.entry", entry, entry.pop("at")), permission)
