"""Which events a subscriber may be given next (R22). Pure.

Two cases, because two things are known. An event that comes *live* is given only if nothing can lie between it and
the last one given. What was *read* together with the rows is complete in state events, since the rows hold every
one of them: there only events of a node can be missing, and a snapshot, the final output or the next attempt
makes up for those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from neurogrid.events.stream import NODE_EVENTS
from neurogrid.protocol.events import Event, EventId, EventType, follows, running


@dataclass(frozen=True, slots=True)
class Fold:
    """Node events are lost for good: before ``final``, give a snapshot of the whole output."""

    final: Event

    @property
    def id(self) -> EventId:
        """The id under which the snapshot goes: that of the last event lost."""
        return EventId(self.final.id.attempt, self.final.id.seq - 1)


def continues(last: EventId, event: Event) -> bool:
    """Tell whether a live ``event`` may be given right after ``last``.

    Never the opening of an attempt: whole attempts, with their states, may lie before it unseen.
    """
    if event.type is EventType.SNAPSHOT:
        return event.id.attempt == last.attempt and event.id > last >= running(last.attempt)
    return event.id.seq != 0 and follows(last, event.id)


def merge(*sources: Iterable[Event]) -> list[Event]:
    """Join events from several places, each id once, in order.

    Where one id occurs twice a state event wins, since a row says so, then a snapshot, since it needs nothing
    before it.
    """
    by_id: dict[EventId, Event] = {}
    for source in sources:
        for event in source:
            known = by_id.get(event.id)
            if known is None or _weight(event) > _weight(known):
                by_id[event.id] = event
    return [by_id[id] for id in sorted(by_id)]


def is_state(event: Event) -> bool:
    """Tell whether an event is a change of state, of which the rows hold every one."""
    return event.type not in NODE_EVENTS and event.type is not EventType.SNAPSHOT


def shows_execution(event: Event) -> bool:
    """Tell whether a task with this event has been begun, or is over."""
    return event.final or event.type in NODE_EVENTS or event.type in {EventType.RUNNING, EventType.SNAPSHOT}


def shared(task: str, events: Iterable[Event]) -> list[Event]:
    """Return what comes of a leader's execution as events of ``task``, which shares it: not its beginning or end."""
    return [
        Event(event.id, event.type, task, event.raw.replace(event.task.encode(), task.encode(), 1))
        for event in events
        if event.task != task and event.type is not EventType.QUEUED and not event.final
    ]


def weave(last: EventId, events: Iterable[Event]) -> tuple[list[Event | Fold], bool]:
    """Return what to give after ``last`` out of merged ``events``, and whether a hole is left in front of the rest."""
    given: list[Event | Fold] = []
    position = last
    hole = False
    for event in events:
        if event.id <= position:
            continue
        next_one = event.id == (position.attempt, position.seq + 1)
        if event.id.seq <= 1 or event.type is EventType.SNAPSHOT or (next_one and not hole):
            given.append(event)
        elif is_state(event):
            given += [Fold(event), event]
        else:
            hole = True
            continue
        position, hole = event.id, False
    return given, hole


def _weight(event: Event) -> int:
    if event.type in NODE_EVENTS:
        return 0
    return 1 if event.type is EventType.SNAPSHOT else 2
