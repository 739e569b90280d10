"""One connected client: who it is, what it follows, and what still has to be sent to it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from neurogrid.auth.policy import Identity
from neurogrid.streams.feed import Member
from neurogrid.streams.outlet import Outlet
from neurogrid.streams.source import Spawn

log = structlog.get_logger(__name__)


class Connection:
    """What the hub knows of a client. ``identity`` is ``None`` until it has authenticated."""

    __slots__ = ("_behind", "_spawn", "_working", "identity", "leave", "outlet")

    def __init__(self, outlet: Outlet, spawn: Spawn) -> None:
        self.outlet = outlet
        self.identity: Identity | None = None
        self.leave: dict[str, Callable[[], None]] = {}
        """How to leave each subscribed channel."""
        self._spawn = spawn
        self._behind: list[Member] = []
        self._working = False

    def catch_up(self, member: Member) -> None:
        """Let a member read what it lacks, after those that asked before it.

        One at a time, so that a client with a thousand subscriptions holds one history in memory.
        """
        self._behind.append(member)
        if not self._working:
            self._working = True
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._behind:
                member = self._behind.pop(0)
                if member.left or self.outlet.closing:
                    continue
                try:
                    await member.feed.catch_up(member)
                except Exception:
                    log.warning("catch_up_failed", task=member.feed.task, exc_info=True)
                    member.feed.waits(member)
        finally:
            self._working = False
