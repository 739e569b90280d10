"""One task's events to all its subscribers of this gateway (R22).

A member is *live* while each event that comes continues what it was given; then it is served at once, from a frame
rendered once for all. On anything else, on joining, and after a reset of the bus it is *behind*: its connection
reads the stream and the rows, gives what is missing at the client's pace, and makes it live again in the moment in
which nothing newer waits. Events that come meanwhile are held.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from neurogrid.events.bus import Bus, Subscription
from neurogrid.events.stream import NODE_EVENTS
from neurogrid.protocol.events import Event, EventId, EventType, make_event
from neurogrid.streams.frames import Render
from neurogrid.streams.outlet import Frame, Outlet
from neurogrid.streams.records import TaskRecords
from neurogrid.streams.weave import Fold, continues, merge, weave

HELD = 1024
"""Events held for members that are behind; what falls out is read again."""
ASK_EVERY = 0.5
"""Seconds between requests for a snapshot of one task."""

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine in the background, owned and logged by the hub."""


class Reader(Protocol):
    """The connection a member belongs to; it works off what its members lack, one after the other."""

    outlet: Outlet

    def catch_up(self, member: Member) -> None:
        """Call ``member.feed.catch_up(member)`` soon."""


class Member:
    """One subscription of one connection to one task. ``last`` is the id of the last event given."""

    __slots__ = ("feed", "last", "left", "live", "reader", "render", "since", "waiting")

    def __init__(self, feed: Feed, reader: Reader, render: Render, after: EventId) -> None:
        self.feed = feed
        self.reader = reader
        self.render = render
        self.last = after
        self.live = False
        self.left = False
        self.waiting = False
        """Behind, and nothing to give until something comes or time passes."""
        self.since = 0.0


class Feed:
    """Follows one task while it has members."""

    def __init__(self, task: str, bus: Bus, records: TaskRecords, spawn: Spawn) -> None:
        self.task = task
        self._bus = bus
        self._records = records
        self._spawn = spawn
        self._members: tuple[Member, ...] = ()
        self._held: deque[Event] = deque(maxlen=HELD)
        self._subscription: Subscription | None = None
        self._opening = asyncio.Lock()
        self._reads: list[tuple[EventId, asyncio.Future[list[Event]]]] = []
        self._reading = False
        self._asked = float("-inf")
        self._turns = 0
        """Counts the events that may end a wait: states and snapshots."""
        self.quiet = True
        """Whether nothing has come since this was last set."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Who is subscribed."""
        return self._members

    def join(self, reader: Reader, render: Render, after: EventId) -> Member:
        """Begin to serve a reader, from after ``after``."""
        member = Member(self, reader, render, after)
        self._members = (*self._members, member)
        reader.catch_up(member)
        return member

    def leave(self, member: Member) -> None:
        """Serve a member no more; the last one closes the feed."""
        member.left = True
        self._members = tuple(other for other in self._members if other is not member)
        if not self._members:
            self._spawn(self._close())
        elif not member.live:
            self._release_held()

    async def catch_up(self, member: Member) -> None:
        """Give a member that is behind what it lacks. It is live afterwards, or waits, or is told to try again."""
        turns = self._turns
        hole_may_be_gone = False
        given, hole = weave(member.last, await self._read(member.last))
        for item in given:
            event = await self._folded(item) if isinstance(item, Fold) else item
            if not await self._give(member, event):
                return
        while (following := self._next_held(member.last)) is not None:
            hole_may_be_gone = True
            if not await self._give(member, following):
                return
        if hole and not hole_may_be_gone and turns == self._turns:
            self._wait(member)
        elif hole or self._lacks(member):
            member.reader.catch_up(member)
        else:
            member.live = True
            self._release_held()

    def retry(self, member: Member) -> None:
        """Let a waiting member try again."""
        if member.waiting:
            member.waiting = False
            member.reader.catch_up(member)

    def waits(self, member: Member) -> None:
        """Note that a member cannot go on now, so that it is tried again later."""
        member.waiting = True
        member.since = asyncio.get_running_loop().time()

    def fall_behind(self, newest: EventId) -> None:
        """Let those members read again that have not been given ``newest``."""
        for member in self._members:
            if member.last < newest:
                self._fall_behind(member)

    def _on_event(self, event: Event) -> None:
        self.quiet = False
        turn = event.type not in NODE_EVENTS
        self._turns += turn
        frames: dict[Render, Frame] = {}
        someone_behind = False
        for member in self._members:
            if event.id <= member.last:
                continue
            goes_on = continues(member.last, event)
            if member.live and goes_on:
                member.last = event.id
                frame = frames.get(member.render)
                if frame is None:
                    frame = frames[member.render] = member.render(event)
                member.reader.outlet.offer(frame)
                continue
            someone_behind = True
            if member.live:
                self._fall_behind(member)
            elif goes_on or turn:
                self.retry(member)
        if someone_behind:
            self._held.append(event)

    def _on_reset(self) -> None:
        for member in self._members:
            self._fall_behind(member)

    def _fall_behind(self, member: Member) -> None:
        if member.live:
            member.live = False
            member.reader.catch_up(member)
        else:
            self.retry(member)

    def _release_held(self) -> None:
        if all(member.live for member in self._members):
            self._held.clear()

    def _next_held(self, last: EventId) -> Event | None:
        return min((event for event in self._held if continues(last, event)), key=_id, default=None)

    def _lacks(self, member: Member) -> bool:
        return any(event.id > member.last for event in self._held)

    def _wait(self, member: Member) -> None:
        self.waits(member)
        now = asyncio.get_running_loop().time()
        if now - self._asked >= ASK_EVERY:
            self._asked = now
            self._spawn(
                self._bus.send("control", json.dumps({"type": "snapshot", "task": self.task}).encode())
            )

    async def _give(self, member: Member, event: Event) -> bool:
        if not await member.reader.outlet.wait_for_room() or member.left:
            return False
        if event.id > member.last:
            member.last = event.id
            member.reader.outlet.offer(member.render(event))
        return True

    async def _folded(self, fold: Fold) -> Event:
        found = await self._records.final_text(self.task)
        text = found[1] if found is not None and found[0] == fold.final.id else ""
        return make_event(self.task, fold.id, EventType.SNAPSHOT, msgspec.json.encode({"text": text}))

    async def _read(self, after: EventId) -> list[Event]:
        """Read stream and rows; calls that wait at the same time share one reading."""
        future: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        self._reads.append((after, future))
        if not self._reading:
            self._reading = True
            self._spawn(self._read_for_all())
        return await future

    async def _read_for_all(self) -> None:
        try:
            while self._reads:
                reads, self._reads = self._reads, []
                try:
                    events = await self._read_once(min(after for after, _ in reads))
                except Exception as error:  # noqa: BLE001 - goes to those who wait, who log it
                    for _, future in reads:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for _, future in reads:
                        if not future.done():
                            future.set_result(events)
        finally:
            self._reading = False

    async def _read_once(self, after: EventId) -> list[Event]:
        async with self._opening:
            if self._subscription is None and self._members:
                self._subscription = await self._bus.follow(self.task, self._on_event, self._on_reset)
        history = await self._bus.history(self.task, after)
        # The rows come last: whatever is held or in the stream by now, the states before it are committed.
        held = list(self._held)
        rows = await self._records.state_events(self.task, after)
        return merge(rows, history, held)

    async def _close(self) -> None:
        async with self._opening:
            if self._subscription is not None and not self._members:
                await self._subscription.close()
                self._subscription = None


def _id(event: Event) -> EventId:
    return event.id
