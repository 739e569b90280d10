"""The ``tasks`` channel: state events of all tasks of one owner, read from rows by cursor (R25).

A message on the bus is a hint to read now; without one the rows are read every few seconds. Each member has a cursor
of its own and those at the same place are served by one query, which soon is all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import structlog

from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus
from neurogrid.streams.frames import channel_event
from neurogrid.streams.outlet import Outlet
from neurogrid.streams.records import TaskRecords

log = structlog.get_logger(__name__)

PAGE = 100
POLL_ALONE = 1.0
"""Seconds between readings while hints from other gateways do not arrive."""
HINT_RETRIES = (0.1, 0.3)
"""Seconds after a hint that found nothing: what it spoke of is committed, but an older transaction is still open."""
SLOW_RETRY = 0.1


class OwnerMember:
    """One subscription of one connection to ``tasks``."""

    __slots__ = ("cursor", "outlet")

    def __init__(self, outlet: Outlet, cursor: str) -> None:
        self.outlet = outlet
        self.cursor = cursor


class OwnerFeed:
    """Serves the members of one owner; ``run`` works until the last one has left."""

    def __init__(self, owner: str, bus: Bus, records: TaskRecords, live: LiveSettings) -> None:
        self._owner = owner
        self._bus = bus
        self._records = records
        self._live = live
        # A page must fit into the buffer of a connection that sends as fast as it can.
        self._page = min(PAGE, max(1, live.buffer // 2))
        self._members: list[OwnerMember] = []
        self._wake = asyncio.Event()
        self._hint_retries: Iterator[float] = iter(())

    @property
    def members(self) -> int:
        """How many are subscribed."""
        return len(self._members)

    def join(self, outlet: Outlet, cursor: str) -> OwnerMember:
        """Serve ``outlet`` with what comes after ``cursor``."""
        member = OwnerMember(outlet, cursor)
        self._members.append(member)
        self._wake.set()
        return member

    def leave(self, member: OwnerMember) -> None:
        """Serve a member no more."""
        self._members.remove(member)
        self._wake.set()

    async def run(self) -> None:
        """Read and deliver while there are members."""
        listening = await self._bus.listen(f"owner:{self._owner}", self._hint)
        try:
            while self._members:
                self._wake.clear()
                found, delay = False, self._poll()
                try:
                    found, all_served = await self._serve()
                    if not all_served:
                        delay = SLOW_RETRY
                except Exception:
                    log.warning("owner_events_failed", owner=self._owner, exc_info=True)
                if not found:
                    delay = min(delay, next(self._hint_retries, delay))
                await self._sleep(delay)
        finally:
            await listening.close()

    def _hint(self, _: bytes) -> None:
        self._hint_retries = iter(HINT_RETRIES)
        self._wake.set()

    def _poll(self) -> float:
        return self._live.waiter_poll if self._bus.healthy else POLL_ALONE

    async def _sleep(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _serve(self) -> tuple[bool, bool]:
        """Bring all members as far as rows and buffers allow; tell whether anything came, and whether to all."""
        found, all_served = False, True
        behind = list(self._members)
        while behind:
            places: dict[str, list[OwnerMember]] = {}
            for member in behind:
                if member.outlet.room >= self._page:
                    places.setdefault(member.cursor, []).append(member)
                elif not member.outlet.closing:
                    all_served = False
            behind = []
            for cursor, members in places.items():
                events, newer = await self._records.owner_events(self._owner, cursor, self._page)
                frames = [channel_event("tasks", event.raw, place) for place, event in events]
                for member in self._still_here(members):
                    if member.outlet.room < len(frames):
                        all_served = False
                        continue
                    member.cursor = newer
                    for frame in frames:
                        member.outlet.offer(frame)
                    if len(frames) == self._page:
                        behind.append(member)
                found = found or bool(events)
        return found, all_served

    def _still_here(self, members: Iterable[OwnerMember]) -> list[OwnerMember]:
        return [member for member in members if member in self._members]
