"""A task, its rows, and a bus that loses, repeats, shuffles and forgets: what the hub has to cope with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from neurogrid.events.listeners import Listening
from neurogrid.events.memory import Follower, Hearer
from neurogrid.events.stream import NODE_EVENTS
from neurogrid.protocol.events import Event, EventId, EventType, event_text, make_event
from tests.support.live import chunk, state

OWNER = "owner"


def story(random: Random, task: str) -> list[Event]:
    """Return all events of a task from submission to its end, through retries, replays and cancels."""
    events = [state(task, "0-1", EventType.QUEUED)]
    attempt = 1
    while True:
        events.append(state(task, f"{attempt}-1", EventType.RUNNING))
        seq = 1
        for _ in range(random.choice([0, 1, 3, 10, 40])):
            seq += 1
            if random.random() < 0.8:
                events.append(chunk(task, attempt, seq))
            else:
                events.append(make_event(task, EventId(attempt, seq), EventType.LOG, b'{"message":"x"}'))
        end = random.choice(["complete", "complete", "retry", "replay", "cancel"])
        if end == "complete" or attempt >= 5:
            text = "".join(event_text(event) for event in events if event.id.attempt == attempt)
            output = json.dumps({"output": {"text": text}}).encode()
            events.append(make_event(task, EventId(attempt, seq + 1), EventType.COMPLETED, output))
            return events
        if end == "replay":
            events.append(state(task, f"{attempt}-{seq + 1}", EventType.FAILED))
        attempt += 1
        if end == "cancel":
            events.append(state(task, f"{attempt}-0", EventType.CANCELED))
            attempt += 1
        events.append(state(task, f"{attempt}-0", EventType.RETRYING))


@dataclass
class Chaos:
    """How likely each misfortune is, per event."""

    drop: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    wipe: float = 0.0
    reset: float = 0.0
    deaf: float = 0.0
    """The owning gateway does not answer a request for a snapshot."""
    rows_fail: float = 0.0


@dataclass
class World:
    """``Bus`` and ``TaskRecords`` of one task."""

    random: Random = field(default_factory=lambda: Random(0))
    chaos: Chaos = field(default_factory=Chaos)
    task: str = "0190b0f0-0000-7000-8000-000000000001"
    healthy: bool = True
    shared: bool = True
    snapshots: Callable[[str], Event | None] | None = None
    rows: list[Event] = field(default_factory=list)
    stream: list[Event] = field(default_factory=list)
    happened: list[Event] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)
    hearers: list[tuple[str, Hearer]] = field(default_factory=list)
    reads: int = 0

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def publish(self, event: Event) -> None:
        """Let ``event`` happen: rows first, then the stream, then, by chance, those who follow."""
        chaos, chance = self.chaos, self.random.random
        self.happened.append(event)
        if event.type not in NODE_EVENTS:
            self.rows.append(event)
        if chance() < chaos.wipe:
            self.stream.clear()
        if chance() >= chaos.wipe:
            self.stream.append(event)
        if chance() < chaos.reset:
            self.reset()
        if chance() >= chaos.drop:
            self.deliver(event)
        if chance() < chaos.repeat:
            self.deliver(self.random.choice(self.happened))

    def deliver(self, event: Event) -> None:
        """Bring an event to the followers, now or a little later."""
        for follower in list(self.followers):
            if self.random.random() < self.chaos.delay:
                wait = self.random.choice([0.0, 0.01, 0.2, 3.0])
                asyncio.get_running_loop().call_later(wait, follower.on_event, event)
            else:
                follower.on_event(event)

    def reset(self) -> None:
        for follower in list(self.followers):
            follower.on_reset()

    async def history(self, task_id: str, after: EventId) -> list[Event]:
        await self._pause()
        return [event for event in self.stream if event.id > after]

    async def follow(
        self, task_id: str, on_event: Callable[[Event], None], on_reset: Callable[[], None]
    ) -> Listening:
        await self._pause()
        follower = Follower(on_event, on_reset)
        self.followers.append(follower)

        async def release() -> None:
            self.followers.remove(follower)

        return Listening(release)

    async def send(self, topic: str, payload: bytes) -> None:
        """Answer a request for a snapshot as the gateway does that runs the task."""
        for heard, hearer in self.hearers:
            if heard == topic:
                hearer.callback(payload)
        if topic != "control" or self.random.random() < self.chaos.deaf:
            return
        assert json.loads(payload) == {"type": "snapshot", "task": self.task}
        newest = self.happened[-1]
        attempt = newest.id.attempt
        folded = [event for event in self.happened if event.id.attempt == attempt and event.id.seq > 1]
        if newest.final or not folded:
            return
        text = "".join(event_text(event) for event in folded)
        await self._pause()
        data = json.dumps({"text": text}).encode()
        self.deliver(make_event(self.task, folded[-1].id, EventType.SNAPSHOT, data))

    async def listen(self, topic: str, callback: Callable[[bytes], None]) -> Listening:
        entry = (topic, Hearer(callback))
        self.hearers.append(entry)

        async def release() -> None:
            self.hearers.remove(entry)

        return Listening(release)

    async def owner_of(self, task_id: str) -> str | None:
        return OWNER if task_id == self.task else None

    async def leader_of(self, task_id: str) -> str | None:
        return None

    async def state_events(self, task_id: str, after: EventId) -> list[Event]:
        self.reads += 1
        await self._pause()
        if self.random.random() < self.chaos.rows_fail:
            raise ConnectionError("the database is away")
        return [event for event in self.rows if event.id > after]

    async def final_text(self, task_id: str) -> tuple[EventId, str] | None:
        await self._pause()
        newest = self.rows[-1]
        if not newest.final:
            return None
        attempt = newest.id.attempt
        return newest.id, "".join(event_text(e) for e in self.happened if e.id.attempt == attempt)

    async def newest_states(self, task_ids: Sequence[str]) -> list[Event]:
        return self.rows[-1:] if self.task in task_ids else []

    async def owner_events(
        self, owner_id: str, cursor: str | None, limit: int
    ) -> tuple[list[tuple[str, Event]], str]:
        await self._pause()
        if cursor is None:
            return [], str(len(self.rows))
        begin = int(cursor)
        found = [(str(begin + i + 1), event) for i, event in enumerate(self.rows[begin : begin + limit])]
        return found, found[-1][0] if found else cursor

    async def _pause(self) -> None:
        await asyncio.sleep(self.random.choice([0, 0, 0.001, 0.05]))
