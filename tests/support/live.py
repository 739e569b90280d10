"""Events for tests: short ways to make them, and a follower that keeps what it is told."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field

from neurogrid.protocol.events import Event, EventId, EventType, event_data, make_event


def new_task() -> str:
    """Return a task id nobody else uses."""
    return str(uuid.uuid4())


def chunk(task: str, attempt: int, seq: int, text: str = "") -> Event:
    """Return a chunk; without ``text`` it says ``<attempt>.<seq>`` and a blank."""
    return make_event(task, EventId(attempt, seq), EventType.CHUNK, _text(text or f"{attempt}.{seq} "))


def snapshot(task: str, attempt: int, seq: int, text: str) -> Event:
    """Return a snapshot of everything up to ``seq``."""
    return make_event(task, EventId(attempt, seq), EventType.SNAPSHOT, _text(text))


def state(task: str, id: str, type: EventType) -> Event:
    """Return a state event with empty data."""
    return make_event(task, EventId.parse(id), type)


def text_of(event: Event) -> str:
    """Return the text an event brings, ``""`` for one that brings none."""
    text: str = json.loads(event_data(event)).get("text", "")
    return text


def _text(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


@dataclass
class Heard:
    """A follower that keeps what it is told."""

    events: list[Event] = field(default_factory=list)
    resets: int = 0

    @property
    def ids(self) -> list[str]:
        """Ids in the order heard."""
        return [str(event.id) for event in self.events]

    def on_event(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def on_reset(self) -> None:
        """Count a reset."""
        self.resets += 1
