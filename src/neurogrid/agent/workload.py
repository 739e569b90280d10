"""What a node has in hand: the attempts that run, and those whose outcome no gateway has confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog

from neurogrid.agent.attempt import Attempt
from neurogrid.agent.outbox import Outbox
from neurogrid.agent.run import run_task
from neurogrid.agent.sender import Sender
from neurogrid.protocol.frames import encode
from neurogrid.protocol.messages import Assign, Execution, Refuse, Resend
from neurogrid.runners.base import Runner

_STOP_WITHIN = 5.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Served:
    runner: Runner
    slots: asyncio.Semaphore


class Workload:
    """Runs tasks, ``slots`` at once and of each model as many as its spec says.

    ``sender`` is the connection's while there is one; without it, what is to be said waits in the attempts.
    Runs are tasks of ``group``, which the agent opens for as long as it serves.
    """

    def __init__(
        self, runners: Iterable[Runner], slots: int, outbox: Outbox, connected: asyncio.Event
    ) -> None:
        self.sender: Sender | None = None
        self.group: asyncio.TaskGroup | None = None
        self.closed = False
        """The node drains: nothing new is taken."""
        self._served = {
            runner.spec.name: _Served(runner, asyncio.Semaphore(runner.spec.slots)) for runner in runners
        }
        self._node = asyncio.Semaphore(slots)
        self._most = 2 * slots
        self._outbox = outbox
        self._connected = connected
        self._attempts: dict[Execution, Attempt] = {}
        self._runs: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._attempts.values()))

    def __contains__(self, key: Execution) -> bool:
        return key in self._attempts

    @property
    def running(self) -> int:
        """How many runs have not ended, stopped ones that still wind down included."""
        return len(self._runs)

    def assign(self, order: Assign) -> None:
        """Begin a task, or refuse it; an attempt that is known already is not begun twice."""
        key = (order.task, order.attempt)
        if (known := self._attempts.get(key)) is not None:
            known.outcome_due = known.finished
            self._announce(known)
            return
        served = self._served.get(order.model)
        if served is None or self.closed or self.group is None or len(self._runs) >= self._most:
            self._refuse(key, self._why_not(served))
            return
        for stale in [other for other in self._attempts if other[0] == order.task]:
            self.stop(stale)
        attempt = Attempt(key, self._announce, self._connected)
        self._attempts[key] = attempt
        attempt.run = self.group.create_task(self._execute(attempt, served, order))
        self._runs.add(attempt.run)
        attempt.run.add_done_callback(self._runs.discard)

    def stop(self, key: Execution) -> None:
        """End an attempt wherever it stands, and say nothing more about it."""
        attempt = self._attempts.pop(key, None)
        if attempt is None:
            return
        attempt.stop()
        self._outbox.discard(key)
        if self.sender is not None:
            self.sender.drop(key)

    def confirm(self, key: Execution) -> None:
        """Forget an attempt whose outcome the gateway has dealt with."""
        attempt = self._attempts.get(key)
        if attempt is not None and attempt.finished:
            self.stop(key)

    def resend(self, request: Resend) -> None:
        """Send an attempt's events again."""
        attempt = self._attempts.get((request.task, request.attempt))
        if attempt is not None:
            attempt.events.rewind(request.from_seq)
            self._announce(attempt)

    async def settle(self, deadline: float) -> None:
        """Wait up to ``deadline`` seconds for what runs, then stop the rest and hand it back."""
        if self._runs:
            await asyncio.wait(self._runs, timeout=deadline)
        for attempt in self:
            if not attempt.finished:
                self.stop(attempt.key)
                self._refuse(attempt.key, "drained")
        if self._runs:
            await asyncio.wait(self._runs, timeout=_STOP_WITHIN)

    def abandon(self) -> None:
        """Stop everything."""
        for attempt in self:
            self.stop(attempt.key)

    async def _execute(self, attempt: Attempt, served: _Served, order: Assign) -> None:
        async with served.slots, self._node:
            attempt.alive()
            outcome = await run_task(served.runner, order, attempt)
        if attempt.stopped:
            return
        await self._outbox.put(attempt.key, encode(outcome))
        attempt.finished = attempt.outcome_due = True
        self._announce(attempt)

    def _announce(self, attempt: Attempt) -> None:
        if self.sender is not None and not attempt.stopped:
            self.sender.ready(attempt)

    def _why_not(self, served: _Served | None) -> str:
        if self.closed:
            return "draining"
        # A run that was cancelled may need a moment to stop, while the gateway counts its slot as free:
        # so some more than the slots are taken, and only beyond that is the node busy.
        return "unknown model" if served is None else "busy"

    def _refuse(self, key: Execution, reason: str) -> None:
        log.info("agent.handed_back", task=key[0], attempt=key[1], reason=reason)
        if self.sender is not None:
            self.sender.post(Refuse(*key, reason, leaving=self.closed))
