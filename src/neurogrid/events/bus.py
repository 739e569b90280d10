"""What the event bus promises, whatever carries it (R21-R23).

The bus is the fast, losable side: it may forget and it may repeat, and its readers heal that from rows and
snapshots. It never blocks or fails those who publish.

Channels come in two kinds. The *events of a task* are followed live and kept for a while in a stream, so that a
late reader can catch up. *Topics* are plain messages without memory: ``system`` (announcements), ``control``
(between gateways), ``wake`` (work arrived), ``owner:<id>`` (a state row of this owner was committed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from neurogrid.protocol.events import Event, EventId

SnapshotSource = Callable[[str], Event | None]
"""Given a task id, the ``task.snapshot`` of its running attempt under the id of the last folded event; ``None``
when this process does not run the task. Called on the event loop, so it must be quick and must not publish."""


class Subscription(Protocol):
    """Something listened to."""

    async def close(self) -> None:
        """Stop listening; nothing is delivered afterwards. Idempotent."""


class Bus(Protocol):
    """Carries live events and topics between the parts of the grid."""

    snapshots: SnapshotSource | None
    """Set by whoever runs tasks; asked when a stream has a hole that only folded text can fill."""

    @property
    def healthy(self) -> bool:
        """Whether other gateways can be reached now. In process: always."""

    @property
    def shared(self) -> bool:
        """Whether there can be other gateways at all."""

    async def start(self) -> None:
        """Begin to carry. Returns within about a second even when Redis is away."""

    async def close(self) -> None:
        """Send what waits (briefly), then stop. Idempotent."""

    def publish(self, event: Event) -> None:
        """Bring ``event`` to the local followers at once and to all others soon. Never blocks, never raises.

        Events of a node, and snapshots, make or extend the task's stream; state events are appended where a
        stream exists; a final event lets the stream expire.
        """

    async def history(self, task_id: str, after: EventId) -> list[Event]:
        """Return what is kept of the task after ``after``, in order; there may be holes. ``[]`` when none."""

    async def follow(
        self, task_id: str, on_event: Callable[[Event], None], on_reset: Callable[[], None]
    ) -> Subscription:
        """Call ``on_event`` for everything published about the task from the moment this returns.

        Both callbacks run on the event loop and must be quick. ``on_reset`` means that events may have been
        missed: read ``history`` again.
        """

    async def send(self, topic: str, payload: bytes) -> None:
        """Send to every listener of ``topic``, here and elsewhere, once. Losable; never raises."""

    async def listen(self, topic: str, callback: Callable[[bytes], None]) -> Subscription:
        """Call ``callback`` with every payload sent to ``topic`` from the moment this returns."""
