"""One task's events to all its subscribers of this gateway (R22).

A member is *live* while each event that comes continues what it was given; then it is served at once, from a frame
rendered once for all. On anything else, on joining, and after a reset of the bus it is *behind*: its connection
reads the stream and the rows, gives what is missing at the client's pace, and makes it live again in the moment in
which nothing newer waits. Events that come meanwhile are held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Protocol

import msgspec

from neurogrid.events.bus import Bus
from neurogrid.events.stream import NODE_EVENTS
from neurogrid.protocol.events import START, Event, EventId, EventType, make_event
from neurogrid.streams.frames import Render
from neurogrid.streams.outlet import Frame, Outlet
from neurogrid.streams.records import TaskRecords
from neurogrid.streams.source import Source, Spawn
from neurogrid.streams.weave import Fold, continues, is_state, weave

HELD = 1024
"""Events held for members that are behind; what falls out is read again."""


class Reader(Protocol):
    """The connection a member belongs to; it works off what its members lack, one after the other."""

    outlet: Outlet

    def catch_up(self, member: Member) -> None:
        """Call ``member.feed.catch_up(member)`` soon."""


class Member:
    """One subscription of one connection to one task. ``last`` is the id of the last event given."""

    __slots__ = ("feed", "last", "left", "live", "proved", "reader", "render", "since", "waiting")

    def __init__(self, feed: Feed, reader: Reader, render: Render, after: EventId) -> None:
        self.feed = feed
        self.reader = reader
        self.render = render
        self.last = after
        self.live = False
        self.left = False
        self.proved = after == START
        """Whether ``last`` is known to have happened."""
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
        self._source = Source(task, bus, records, spawn, self)
        self._turns = 0
        """Counts the events that may end a wait: states and snapshots."""
        self.quiet = True
        """Whether nothing has come since this was last set."""

    @property
    def follows(self) -> bool:
        """Whether the task shares the execution of another one, for all that is known here."""
        return self._source.follows

    @property
    def wanted(self) -> bool:
        """Whether anybody is subscribed."""
        return bool(self._members)

    @property
    def held(self) -> Iterable[Event]:
        """Events that came while somebody was behind."""
        return self._held

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
            self._spawn(self._source.close())
        elif not member.live:
            self._release_held()

    async def catch_up(self, member: Member) -> None:
        """Give a member that is behind what it lacks. It is live afterwards, or waits, or is told to try again."""
        turns = self._turns
        hole_may_be_gone = False
        given, hole = weave(member.last, await self._source.read(member.last))
        for item in given:
            event = await self._folded(item) if isinstance(item, Fold) else item
            if not await self._give(member, event):
                return
        while (following := self._next_held(member.last)) is not None:
            hole_may_be_gone = True
            if not await self._give(member, following):
                return
        if not member.proved:
            await self._prove(member)
            member.reader.catch_up(member)
        elif hole and not hole_may_be_gone and turns == self._turns:
            self._wait(member)
        elif hole or self._lacks(member):
            member.reader.catch_up(member)
        else:
            member.live = True
            self._release_held()

    async def _prove(self, member: Member) -> None:
        """Begin anew with a client whose cursor cannot be: with it nothing would ever be new.

        Only the rows can tell. What a node said may be known to nobody here, after a restart say, and yet have
        been given to this client.
        """
        states = [event for event in await self._source.read(START) if is_state(event)]
        newest = states[-1].id if states else START
        over = bool(states) and states[-1].final
        if member.last.attempt > newest.attempt or (over and member.last > newest):
            member.last = START
        member.proved = True

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

    def recheck(self) -> None:
        """Let all members read again, and find out whose execution the task shares now."""
        for member in self._members:
            self._fall_behind(member)

    def on_event(self, event: Event) -> None:
        """Give an event that came live to those it goes on for, and hold it for the others."""
        self.quiet = False
        turn = event.type not in NODE_EVENTS
        self._turns += turn
        frames: dict[Render, Frame] = {}
        someone_behind = False
        for member in self._members:
            if event.id <= member.last:
                if event.final and event.id.attempt == member.last.attempt and event.id < member.last:
                    member.last = START  # nothing comes after the end: its cursor was made up
                    self._fall_behind(member)
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
        self._source.ask_for_snapshot()

    async def _give(self, member: Member, event: Event) -> bool:
        if not await member.reader.outlet.wait_for_room() or member.left:
            return False
        if event.id > member.last:
            member.last = event.id
            member.proved = True
            member.reader.outlet.offer(member.render(event))
        return True

    async def _folded(self, fold: Fold) -> Event:
        found = await self._records.final_text(self.task)
        text = found[1] if found is not None and found[0] == fold.final.id else ""
        return make_event(self.task, fold.id, EventType.SNAPSHOT, msgspec.json.encode({"text": text}))


def _id(event: Event) -> EventId:
    return event.id
