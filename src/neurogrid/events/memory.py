"""The bus within one process: all there is under ``neurogrid up``, and the local half of the Redis bus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import SnapshotSource
from neurogrid.events.listeners import Listeners, Listening
from neurogrid.events.stream import MemoryStreams, Outcome
from neurogrid.protocol.events import Event, EventId

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Follower:
    """The two callbacks of one ``follow``."""

    on_event: Callable[[Event], None]
    on_reset: Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Hearer:
    """The callback of one ``listen``."""

    callback: Callable[[bytes], None]


class MemoryBus:
    """``Bus`` for a single process."""

    healthy = True
    shared = False

    def __init__(self, live: LiveSettings) -> None:
        self.snapshots: SnapshotSource | None = None
        self._streams = MemoryStreams(live.stream_length, live.stream_linger)
        self._followers: Listeners[Follower] = Listeners()
        self._hearers: Listeners[Hearer] = Listeners()

    async def start(self) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Forget all streams."""
        self._streams.clear()

    def publish(self, event: Event) -> None:
        """Append, then bring it to the followers; a hole is filled first, by a snapshot."""
        if self._streams.append(event) is Outcome.GAP:
            snapshot = self.snapshot(event.task)
            if snapshot is not None:
                self._streams.append(snapshot)
                self.deliver(snapshot)
                self._streams.append(event)
        self.deliver(event)

    def snapshot(self, task_id: str) -> Event | None:
        """Ask the snapshot source, which must not be able to stop the events of other tasks."""
        if self.snapshots is None:
            return None
        try:
            return self.snapshots(task_id)
        except Exception:
            log.exception("snapshot_failed", task=task_id)
            return None

    def deliver(self, event: Event) -> None:
        """Bring ``event`` to the local followers of its task without keeping it."""
        for follower in self._followers.of(event.task):
            try:
                follower.on_event(event)
            except Exception:
                log.exception("follower_failed", task=event.task)

    def reset(self, task_id: str) -> None:
        """Tell the local followers of a task that they may have missed something."""
        for follower in self._followers.of(task_id):
            try:
                follower.on_reset()
            except Exception:
                log.exception("follower_failed", task=task_id)

    def followed(self) -> list[str]:
        """Return the tasks with local followers."""
        return self._followers.channels()

    def is_followed(self, task_id: str) -> bool:
        """Tell whether anybody here follows the task."""
        return bool(self._followers.of(task_id))

    async def history(self, task_id: str, after: EventId) -> list[Event]:
        """Return what is kept of the task after ``after``."""
        return self._streams.after(task_id, after)

    async def follow(
        self, task_id: str, on_event: Callable[[Event], None], on_reset: Callable[[], None]
    ) -> Listening:
        """Follow a task; the in-process bus never resets."""
        follower = Follower(on_event, on_reset)
        self._followers.add(task_id, follower)

        async def release() -> None:
            self._followers.remove(task_id, follower)

        return Listening(release)

    async def send(self, topic: str, payload: bytes) -> None:
        """Call every listener of ``topic``."""
        self.hand_out(topic, payload)

    def hand_out(self, topic: str, payload: bytes) -> None:
        """Call the local listeners of ``topic``."""
        for hearer in self._hearers.of(topic):
            try:
                hearer.callback(payload)
            except Exception:
                log.exception("listener_failed", topic=topic)

    async def listen(self, topic: str, callback: Callable[[bytes], None]) -> Listening:
        """Listen to a topic."""
        hearer = Hearer(callback)
        self._hearers.add(topic, hearer)

        async def release() -> None:
            self._hearers.remove(topic, hearer)

        return Listening(release)
