"""Ends of attempts, as nodes present them: into the database, and acknowledged (R3, R6)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import structlog

from neurogrid.core.errors import Unavailable
from neurogrid.core.ids import is_id, now
from neurogrid.dispatch.connection import NodeConnection, Running
from neurogrid.dispatch.outcomes import (
    at_most,
    believable,
    completed,
    error_json,
    failed,
    invalid_output,
    refused_by_database,
    too_late,
)
from neurogrid.dispatch.policy import seconds_left
from neurogrid.dispatch.service import Dispatcher
from neurogrid.protocol.messages import (
    FIRST_NODE_SEQ,
    Committed,
    Error,
    Failure,
    Refused,
    Result,
    Usage,
)
from neurogrid.protocol.values import BadValue, check_value
from neurogrid.queue.answers import Finished
from neurogrid.queue.journal import RowRefused
from neurogrid.queue.ops import Finish, Requeue
from neurogrid.queue.outputs import OutputStore
from neurogrid.queue.patience import patiently
from neurogrid.queue.policy import Charge, RetryPolicy
from neurogrid.queue.upkeep import Held

log = structlog.get_logger(__name__)

PlainEnd = tuple[Result, Running, Finish]
"""A result, the attempt it ends, and what is to be written."""


class Settlements:
    """Settles attempts that nodes say are over."""

    def __init__(
        self, dispatcher: Dispatcher, outputs: OutputStore, policy: RetryPolicy, *, fenced: bool = True
    ) -> None:
        """Settle for ``dispatcher``; without the fence whatever comes, for the drill's self-test alone."""
        self._fenced = fenced
        self._dispatcher = dispatcher
        self._outputs = outputs
        self._policy = policy

    def settle(self, connection: NodeConnection, message: Result | Error) -> None:
        """Bring the end of an attempt into the database, in the background; the slot is free at once."""
        key = (message.task, message.attempt)
        if key in connection.settling:
            return  # presented again while the first is on its way
        running = connection.running.get(message.task)
        if running is not None and running.attempt != message.attempt:
            running = None
        message = self._believed(connection, message, running)
        if running is not None:
            connection.end(running)
            self._correct(running, message.usage)
        connection.settling.add(key)
        self._dispatcher.poke()
        connection.ends.append((message, running))
        if len(connection.ends) == 1:
            self._dispatcher.background.spawn(self._settle_all(connection), "dispatch.settle")

    async def _settle_all(self, connection: NodeConnection) -> None:
        """Settle what ended in this moment: plain ends together, every other by itself."""
        ends, connection.ends = connection.ends, []
        plain: list[PlainEnd] = []
        for message, running in ends:
            end = self._plain(message, running)
            if end is None:
                self._settle_alone(connection, message, running)
            else:
                plain.append(end)
        if plain:
            await self._complete_all(connection, plain)

    def _settle_alone(
        self, connection: NodeConnection, message: Result | Error, running: Running | None
    ) -> None:
        self._dispatcher.background.spawn(self._settle(connection, message, running), "dispatch.settle")

    def _plain(self, message: Result | Error, running: Running | None) -> PlainEnd | None:
        """Return the end of an attempt if nothing stands between its output and its task's row."""
        if running is None or not isinstance(message, Result):
            return None
        raw = bytes(message.output)
        try:
            check_value(raw)
        except BadValue:
            return None
        if not self._outputs.is_small(raw):
            return None
        return message, running, completed(message, raw.decode())

    async def _complete_all(self, connection: NodeConnection, plain: Sequence[PlainEnd]) -> None:
        answers = await self._dispatcher.journal.execute_all([op for _, _, op in plain], patient=True)
        said: list[Committed | Refused] = []
        for (message, running, op), answer in zip(plain, answers, strict=True):
            if isinstance(answer, RowRefused):
                self._settle_alone(connection, message, running)
                continue
            connection.settling.discard(running.key)
            if isinstance(answer, Finished):
                self._announce(op, answer)
                said.append(Committed(*running.key))
            elif answer is None:
                said.append(Refused(*running.key))
            elif not isinstance(
                answer, Unavailable
            ):  # else this gateway closes, and another one hears of it (R6)
                log.error("dispatch.settle_failed", task=running.task, exc_info=answer)
        if said:
            await connection.send(*said)

    def _believed(
        self, connection: NodeConnection, message: Result | Error, running: Running | None
    ) -> Result | Error:
        """Put what this gateway knows itself in place of what cannot be true."""
        last = running.last_seq if running is not None else FIRST_NODE_SEQ - 1
        if message.seq < last:  # its end would come before what its readers have seen already
            message = msgspec.structs.replace(message, seq=last)
        if not believable(message.usage):
            log.warning(
                "node.unbelievable_usage", node=connection.name, task=message.task, usage=message.usage
            )
            usage = running.usage if running is not None else Usage()
            message = msgspec.structs.replace(message, usage=usage)
        if (
            running is not None and running.cost is not None
        ):  # it began here, so it is known for how long it ran
            usage = at_most(message.usage, time.monotonic() - running.since)
            if usage is not message.usage:
                message = msgspec.structs.replace(message, usage=usage)
        return message

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
            return await self._finish(failed(message, Failure("output_too_large", text)))
        raw = bytes(message.output)
        try:
            check_value(raw)
        except BadValue as error:
            return await self._finish(failed(message, invalid_output(str(error))))
        output = raw.decode()
        apart = await patiently(lambda: self._outputs.put_apart(message.task, message.attempt, output))
        return await self._finish(completed(message, None if apart else output))

    async def _fail(self, message: Error, running: Running | None) -> bool:
        held = running if running is not None else await self._held(message)
        if held is None:
            return False
        again = self._policy.after(Charge.ERROR, held.charges, left=seconds_left(held.deadline, now()))
        if not message.retryable or again.dead:
            return await self._finish(failed(message, message.error, dead=message.retryable))
        if again.late:
            return await self._finish(failed(message, too_late(message.error)))
        answer = await self._dispatcher.requeue(
            Requeue(
                message.task,
                message.attempt,
                again.status,
                again.charge,
                "error",
                delay=again.delay,
                error=error_json(message.error),
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
            op = refused_by_database(op)
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
        if op.usage is not None:
            self._dispatcher.used(op.task, op.usage)
        self._dispatcher.states.finished(op, answer)
        self._dispatcher.inherit(answer.heirs)
        self._dispatcher.admitted(answer.admitted)
        # Rendered for every task, it would cost a tenth of all there is to do for one; the row says the same.
        log.debug("task.finished", task=answer.task, status=answer.status.value, node=answer.node)
