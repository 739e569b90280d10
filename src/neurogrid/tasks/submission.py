"""Accepting tasks: one, or one and its result (design §3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import cast

from neurogrid.auth.policy import Identity
from neurogrid.core.db import is_away
from neurogrid.core.errors import Conflict, GridError, OutcomeUnknown
from neurogrid.core.ids import new_id
from neurogrid.core.settings import TaskSettings
from neurogrid.events.states import StateEvents
from neurogrid.idempotency.turns import Turns
from neurogrid.limits.rows import Rows
from neurogrid.queue.answers import Answer, Duplicate, Inserted
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Idempotency, Insert
from neurogrid.queue.policy import FINAL, Status
from neurogrid.tasks import views
from neurogrid.tasks.cancellation import Cancellation
from neurogrid.tasks.deadlines import Deadlines
from neurogrid.tasks.idempotency import once, require_same
from neurogrid.tasks.ports import Allowance, Budget, Dispatching, Models
from neurogrid.tasks.preparation import Preparation, Wanted
from neurogrid.tasks.schemas import TaskSubmit
from neurogrid.tasks.store import TaskStore
from neurogrid.tasks.waiters import Waiters

Gone = Callable[[], Awaitable[None]]
"""Waits until a client has hung up."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A durable task: its id and its JSON."""

    id: str
    body: bytes
    replayed: bool = False
    """Whether an idempotency key stood for it already."""


class Submissions:
    """Accepts tasks; what it returns is durable."""

    def __init__(
        self,
        journal: Journal,
        store: TaskStore,
        states: StateEvents,
        models: Models,
        dispatching: Dispatching,
        waiters: Waiters,
        deadlines: Deadlines,
        budget: Budget,
        allowance: Allowance,
        settings: TaskSettings,
    ) -> None:
        """Validate against ``models``, write through ``journal``, hand over to ``dispatching``."""
        self._journal = journal
        self._store = store
        self._states = states
        self._dispatching = dispatching
        self._waiters = waiters
        self._settings = settings
        self._budget = budget
        self._preparation = Preparation(store, models, dispatching, deadlines, budget, allowance, settings)
        self._turns = Turns()
        self._cancellation = Cancellation(journal, store, states, dispatching)
        self.max_wait = settings.max_wait

    async def submit(
        self,
        actor: Identity,
        body: TaskSubmit,
        *,
        key: str | None = None,
        task: str | None = None,
        granted: Rows | None = None,
    ) -> Submitted:
        """Accept a task, under the id ``task`` if given.

        With an idempotency ``key`` that was used before, the task of then is returned as it is now, whatever
        would be wrong with it by now, though ``granted`` are none.
        Raises ``LimitExceeded``, ``UnknownModel``, ``Invalid``, ``TooManyTasks``, ``QuotaExceeded``, ``IdempotencyConflict``, ``Unavailable``,
        ``OutcomeUnknown``.
        """
        wanted = Wanted(body, task or new_id(), once(key, body))
        async with self._turns.take(actor.user_id, key):
            try:
                if granted is not None:
                    granted.use()
                op = await self._preparation.row(actor, wanted)
            except GridError as error:
                return await self._known_or(error, actor, wanted.once)
            try:
                answer = await self._journal.execute(op)
            except BaseException as error:
                self._let_go(op, error)
                raise
            return await self._outcome(actor, wanted.once, self._handed_over(op, answer))

    async def submit_many(
        self, actor: Identity, bodies: Iterable[tuple[TaskSubmit, str | None]], granted: Rows
    ) -> list[Submitted | GridError]:
        """Accept tasks, or say what is wrong with each; beside each stands its idempotency key, if it has one.

        Each fares as if it were submitted by itself, but no more than ``granted`` become tasks. The keys must
        differ, and nobody else may be using them.
        """
        wanted = [Wanted(body, new_id(), once(key, body)) for body, key in bodies]
        rows = await self._preparation.rows(actor, wanted, granted)
        ops = [row for row in rows if isinstance(row, Insert)]
        try:
            answers = await self._journal.execute_all(ops)
        except BaseException:
            self._preparation.give_back(ops)
            raise
        # All that are written are handed over before anything is looked up for another.
        fates = {op.id: self._fate(op, answer, granted) for op, answer in zip(ops, answers, strict=True)}
        outcomes: list[Submitted | GridError] = []
        for one, row in zip(wanted, rows, strict=True):
            try:
                if isinstance(row, GridError):
                    outcomes.append(await self._known_or(row, actor, one.once))
                else:
                    outcomes.append(await self._outcome(actor, one.once, fates[row.id]))
            except GridError as error:
                outcomes.append(error)
        return outcomes

    def _fate(
        self, op: Insert, answer: Answer | Exception, granted: Rows
    ) -> Submitted | Duplicate | Exception:
        if not isinstance(answer, Inserted | OutcomeUnknown):
            granted.put_back()
        if isinstance(answer, Inserted | Duplicate):
            return self._handed_over(op, answer)
        error = cast("Exception", answer)
        self._let_go(op, error)
        return error

    def _let_go(self, op: Insert, error: BaseException) -> None:
        """Give back what was held for a task that is not written; if nobody knows, its end settles the tokens."""
        if isinstance(error, OutcomeUnknown):
            self._dispatching.inserted(op, None)
        else:
            self._preparation.give_back((op,))

    async def _outcome(
        self, actor: Identity, asked: Idempotency | None, fate: Submitted | Duplicate | Exception
    ) -> Submitted:
        if isinstance(fate, Exception):
            raise fate
        return await self._again(actor, asked, fate) if isinstance(fate, Duplicate) else fate

    def _handed_over(self, op: Insert, answer: Inserted | Duplicate) -> Submitted | Duplicate:
        """Have a task run that is written now, unless its key stands for another one."""
        if isinstance(answer, Duplicate):
            self._preparation.give_back((op,))
            return answer
        if answer.status is Status.WAITING:  # its leader alone is charged (R20)
            self._budget.release(op.id)
        self._states.inserted(op.owner)
        self._dispatching.inserted(op, answer)
        return Submitted(op.id, views.accepted(op, answer))

    async def _known_or(self, error: GridError, actor: Identity, asked: Idempotency | None) -> Submitted:
        """Answer with the task that a key stands for, whatever would be wrong with it by now; else raise ``error``."""
        if asked is None:
            raise error
        known = await self._store.keyed(actor.user_id, asked.key)
        if known is None:
            raise error
        return await self._again(actor, asked, known)

    async def _again(self, actor: Identity, asked: Idempotency | None, known: Duplicate) -> Submitted:
        """Answer with the task that an idempotency key stands for (R19)."""
        require_same(asked, known)
        return Submitted(known.task, await self._known(actor, known.task), replayed=True)

    async def _known(self, actor: Identity, task: str) -> bytes:
        row = await self._store.get(task, actor.user_id)
        if row is None:
            msg = "The task that this Idempotency-Key stands for was deleted. Take a fresh key."
            raise Conflict(msg)
        return views.whole(row)

    async def submit_and_wait(
        self,
        actor: Identity,
        body: TaskSubmit,
        seconds: float,
        *,
        key: str | None = None,
        gone: Gone | None = None,
        granted: Rows | None = None,
    ) -> tuple[Submitted, bytes | None]:
        """Accept a task and wait for it; the second value is the finished task, if it finished in time.

        A task that was asked to do so is cancelled when the client is ``gone``. Raises what ``submit`` raises.
        """
        task = new_id()
        if body.on_disconnect == "detach":
            gone = None
        with self._waiters.expecting(task) as over:
            submitted = await self.submit(actor, body, key=key, task=task, granted=granted)
            if not submitted.replayed and not await self._over(actor, submitted.id, over, seconds, gone):
                return submitted, None
        if submitted.replayed:
            with self._waiters.expecting(submitted.id) as over:
                status = await self._store.status(submitted.id, actor.user_id)
                if status not in FINAL and not await self._over(actor, submitted.id, over, seconds, gone):
                    return submitted, None
        try:
            return submitted, await self._known(actor, submitted.id)
        except Exception as error:
            if not is_away(error):
                raise
            return submitted, None  # an error would deny that the task is accepted

    async def _over(
        self, actor: Identity, task: str, over: asyncio.Event, seconds: float, gone: Gone | None
    ) -> bool:
        """Wait for a task's end, and cancel it when the client is ``gone`` before."""
        left = False
        try:
            async with asyncio.timeout(min(seconds, self._settings.max_wait)):
                if gone is None:
                    await over.wait()
                else:
                    left = await _first(gone, over)
        except TimeoutError:
            return False
        if left:
            await self._cancellation.cancel(actor.user_id, task, patient=True)
        return not self._waiters.closing


async def _first(gone: Gone, over: asyncio.Event) -> bool:
    """Wait until the client is gone or the task over; ``True`` if the client went first."""
    ends = asyncio.ensure_future(over.wait())
    leaves = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({ends, leaves}, return_when=asyncio.FIRST_COMPLETED)
        return not over.is_set()
    finally:
        ends.cancel()
        leaves.cancel()
        await asyncio.gather(ends, leaves, return_exceptions=True)
