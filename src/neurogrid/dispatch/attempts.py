"""What nodes say about their running attempts: events, and that they will not run them (R5, R21)."""

from __future__ import annotations

import structlog

from neurogrid.dispatch.connection import NodeConnection, Running
from neurogrid.dispatch.outcomes import (
    invalid_output,
    too_large,
)
from neurogrid.dispatch.service import Dispatcher
from neurogrid.dispatch.settlements import Settlements
from neurogrid.protocol.events import EventId, EventType, make_event
from neurogrid.protocol.messages import (
    Cancel,
    Chunk,
    Error,
    Execution,
    Failure,
    Log,
    Metric,
    Refuse,
    Release,
    Resend,
    Snapshot,
    TaskEvent,
    TaskProgress,
    Usage,
)
from neurogrid.protocol.values import BadValue, check_value

log = structlog.get_logger(__name__)

EVENT_TYPES: dict[type[TaskEvent], EventType] = {
    Chunk: EventType.CHUNK,
    TaskProgress: EventType.PROGRESS,
    Metric: EventType.METRIC,
    Log: EventType.LOG,
}


class Attempts:
    """Takes what nodes report of running attempts to the live streams."""

    def __init__(self, dispatcher: Dispatcher, settlements: Settlements, most: int) -> None:
        """Report for ``dispatcher``; a text of more than ``most`` bytes ends its attempt."""
        self._dispatcher = dispatcher
        self._settlements = settlements
        self._most = most

    async def event(self, connection: NodeConnection, message: TaskEvent) -> None:
        """Publish an event of a running attempt, in order and without a gap."""
        running = connection.running.get(message.task)
        if running is None or running.attempt != message.attempt:
            if (message.task, message.attempt) not in connection.settling:
                await connection.send(Release(message.task, message.attempt))
            return
        if message.seq <= running.last_seq:
            return
        if message.seq > running.last_seq + 1:
            await self.fetch(connection, running)
            return
        data = bytes(message.data)
        try:
            check_value(data)
        except BadValue as error:
            await self.stop(connection, running.key, running.last_seq, invalid_output(str(error)))
            return
        running.add(message.seq, data, text=type(message) is Chunk)
        identifier = EventId(message.attempt, message.seq)
        self._dispatcher.states.publish(
            make_event(message.task, identifier, EVENT_TYPES[type(message)], message.data)
        )
        await self._bound(connection, running)

    async def _bound(self, connection: NodeConnection, running: Running) -> None:
        """Stop an attempt whose text so far is larger than an output may be."""
        if running.exceeds(self._most):
            await self.stop(connection, running.key, running.last_seq, too_large(self._most))

    async def stop(self, connection: NodeConnection, key: Execution, last_seq: int, failure: Failure) -> None:
        """End an attempt for good because of what its model says, and have the node stop it."""
        running = connection.running.get(key[0])
        usage = running.usage if running is not None and running.key == key else Usage()
        log.warning("task.stopped", task=key[0], attempt=key[1], node=connection.name, code=failure.code)
        self._settlements.settle(connection, Error(*key, last_seq, failure, retryable=False, usage=usage))
        await connection.send(Cancel(*key))

    async def fetch(self, connection: NodeConnection, running: Running) -> None:
        """Ask the node once for the events after the last known one; later ones are dropped until then."""
        wanted = running.last_seq + 1
        if running.missing != wanted:
            running.missing = wanted
            await connection.send(Resend(running.task, running.attempt, wanted))

    async def snapshot(self, connection: NodeConnection, message: Snapshot) -> None:
        """Take a node's folded text in place of events it no longer keeps."""
        running = connection.running.get(message.task)
        if running is not None and running.attempt == message.attempt and message.seq > running.last_seq:
            running.replace(message.seq, message.text)
            self._dispatcher.states.publish(running.snapshot())
            await self._bound(connection, running)

    def refuse(self, connection: NodeConnection, message: Refuse) -> None:
        """Take back a task the node cannot run now, in the background; nothing is charged."""
        if message.leaving:
            connection.leaving = True
        running = connection.running.get(message.task)
        if running is None or running.attempt != message.attempt:
            return
        connection.end(running)
        reason = message.reason or "handed_back"
        back = self._dispatcher.hand_back(running.task, running.attempt, connection.session, reason)
        self._dispatcher.background.spawn(back, "dispatch.refused")
