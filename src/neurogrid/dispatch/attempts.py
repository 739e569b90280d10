"""What nodes say about their running attempts: events, results, errors (R5, R6, R21)."""

from __future__ import annotations

import orjson
import structlog

from neurogrid.core.errors import Unavailable
from neurogrid.core.ids import is_id, now
from neurogrid.dispatch.connection import NodeConnection, Running
from neurogrid.dispatch.policy import seconds_left
from neurogrid.dispatch.service import Dispatcher
from neurogrid.protocol.events import EventId, EventType, make_event
from neurogrid.protocol.messages import (
    Chunk,
    Committed,
    Error,
    Failure,
    Log,
    Metric,
    Refuse,
    Refused,
    Release,
    Resend,
    Result,
    Snapshot,
    TaskEvent,
    TaskProgress,
    Usage,
)
from neurogrid.queue.journal import RowRefused
from neurogrid.queue.ops import Finish, Finished, Requeue
from neurogrid.queue.outputs import OutputStore
from neurogrid.queue.patience import patiently
from neurogrid.queue.policy import Charge, RetryPolicy, Status
from neurogrid.queue.upkeep import Held

log = structlog.get_logger(__name__)

EVENT_TYPES: dict[type[TaskEvent], EventType] = {
    Chunk: EventType.CHUNK,
    TaskProgress: EventType.PROGRESS,
    Metric: EventType.METRIC,
    Log: EventType.LOG,
}


INVALID_OUTPUT = Failure("invalid_output", "The database does not take the output of the model.")
MAX_SEQ = 2**31 - 1


class Attempts:
    """Takes what nodes report into the database and to the live streams."""

    def __init__(
        self, dispatcher: Dispatcher, outputs: OutputStore, policy: RetryPolicy, *, fenced: bool = True
    ) -> None:
        """Settle attempts for ``dispatcher``; without the fence whatever comes, for the drill's self-test alone."""
        self._fenced = fenced
        self._dispatcher = dispatcher
        self._outputs = outputs
        self._policy = policy

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
        running.add(message.seq, data, text=type(message) is Chunk)
        identifier = EventId(message.attempt, message.seq)
        self._dispatcher.states.publish(
            make_event(message.task, identifier, EVENT_TYPES[type(message)], message.data)
        )

    async def fetch(self, connection: NodeConnection, running: Running) -> None:
        """Ask the node once for the events after the last known one; later ones are dropped until then."""
        wanted = running.last_seq + 1
        if running.missing != wanted:
            running.missing = wanted
            await connection.send(Resend(running.task, running.attempt, wanted))

    def snapshot(self, connection: NodeConnection, message: Snapshot) -> None:
        """Take a node's folded text in place of events it no longer keeps."""
        running = connection.running.get(message.task)
        if running is not None and running.attempt == message.attempt and message.seq > running.last_seq:
            running.replace(message.seq, message.text)
            self._dispatcher.states.publish(running.snapshot())

    def settle(self, connection: NodeConnection, message: Result | Error) -> None:
        """Bring the end of an attempt into the database, in the background; the slot is free at once."""
        key = (message.task, message.attempt)
        if key in connection.settling:
            return  # presented again while the first is on its way
        running = connection.running.get(message.task)
        if running is not None and running.attempt != message.attempt:
            running = None
        if running is not None:
            connection.end(running)
            self._correct(running, message.usage)
        connection.settling.add(key)
        self._dispatcher.poke()
        self._dispatcher.background.spawn(self._settle(connection, message, running), "dispatch.settle")

    def _correct(self, running: Running, usage: Usage) -> None:
        """Charge or give back what the attempt cost more or less than estimated."""
        if running.cost is not None:
            actual = float(usage.prompt_tokens + usage.completion_tokens)
            self._dispatcher.clock.settled(
                running.owner, running.lane, running.priority, running.cost, actual
            )

    async def _settle(
        self, connection: NodeConnection, message: Result | Error, running: Running | None
    ) -> None:
        try:
            if not is_id(message.task) or not (running or await self._is_its(connection, message)):
                committed = False
            elif isinstance(message, Result):
                committed = await self._complete(message)
            else:
                committed = await self._fail(message, running)
        except Unavailable:  # this gateway closes; the node presents it to another one (R6)
            return
        finally:
            connection.settling.discard((message.task, message.attempt))
        answer = Committed if committed else Refused
        await connection.send(answer(message.task, message.attempt))

    async def _complete(self, message: Result) -> bool:
        size = len(message.output)
        if size > self._outputs.most:
            text = f"The output has {size} bytes; {self._outputs.most} is the most."
            return await self._finish(_failed(message, Failure("output_too_large", text)))
        try:
            output = bytes(message.output).decode()
        except UnicodeDecodeError:
            return await self._finish(_failed(message, INVALID_OUTPUT))
        apart = await patiently(lambda: self._outputs.put_apart(message.task, message.attempt, output))
        return await self._finish(
            Finish(
                message.task,
                message.attempt,
                Status.COMPLETED,
                message.seq + 1,
                output=None if apart else output,
                output_apart=apart,
                usage=message.usage,
            )
        )

    async def _fail(self, message: Error, running: Running | None) -> bool:
        held = running if running is not None else await self._held(message)
        if held is None:
            return False
        again = self._policy.after(Charge.ERROR, held.charges, left=seconds_left(held.deadline, now()))
        if not message.retryable or again.dead:
            return await self._finish(_failed(message, message.error, dead=message.retryable))
        if again.late:
            return await self._finish(_failed(message, _too_late(message.error)))
        answer = await self._dispatcher.requeue(
            Requeue(
                message.task,
                message.attempt,
                again.status,
                again.charge,
                "error",
                delay=again.delay,
                error=_error_json(message.error),
            )
        )
        return answer is not None

    async def _is_its(self, connection: NodeConnection, message: Result | Error) -> bool:
        """Tell whether an attempt this connection does not know was given to its node, in whatever session (R3)."""
        held = await self._held(message)
        return (held is not None and held.node == connection.name) or not self._fenced

    async def _held(self, message: Result | Error) -> Held | None:
        held = await patiently(lambda: self._dispatcher.upkeep.find(message.task))
        return held if held is not None and held.attempt == message.attempt else None

    async def _finish(self, op: Finish) -> bool:
        try:
            answer = await self._dispatcher.journal.execute(op, patient=True)
        except RowRefused:  # an output, or figures, that the database does not take (R9)
            op = Finish(
                op.task,
                op.attempt,
                Status.FAILED,
                min(op.final_seq, MAX_SEQ),
                error=_error_json(INVALID_OUTPUT),
                charge=Charge.ERROR,
            )
            answer = await self._finish_at_all(op)
        if answer is None:
            return False
        self._announce(op, answer)
        return True

    async def _finish_at_all(self, op: Finish) -> Finished | None:
        try:
            return await self._dispatcher.journal.execute(op, patient=True)
        except RowRefused:  # then it is no attempt of ours
            return None

    def _announce(self, op: Finish, answer: Finished) -> None:
        self._dispatcher.states.finished(op, answer)
        log.info("task.finished", task=answer.task, status=answer.status.value, node=answer.node)

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


def _failed(message: Result | Error, failure: Failure, *, dead: bool = False) -> Finish:
    return Finish(
        message.task,
        message.attempt,
        Status.FAILED,
        message.seq + 1,
        error=_error_json(failure),
        charge=Charge.ERROR,
        dead_letter=dead,
        usage=message.usage,
    )


def _too_late(last: Failure) -> Failure:
    text = (
        f"The deadline leaves no time for another attempt. The last one failed: {last.message} ({last.code})"
    )
    return Failure("deadline_exceeded", text)


def _error_json(failure: Failure) -> str:
    return orjson.dumps({"code": failure.code, "message": failure.message}).decode()
