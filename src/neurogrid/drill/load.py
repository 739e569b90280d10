"""Clients that submit, wait, cancel and follow, and remember what they were told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from neurogrid.client.asynchronous import AsyncClient
from neurogrid.client.errors import ApiError, ClientError
from neurogrid.client.types import Task
from neurogrid.drill.records import StreamRecord, Submission
from neurogrid.drill.rows import LABEL
from neurogrid.drill.streams import Followers
from neurogrid.drill.work import MAX_ATTEMPTS, End, Work, draw

TIMEOUT = 8.0
"""Seconds a client waits for an answer: longer than a gateway may take to say that it cannot."""
RETRIES = 2
"""How often a client tries again where the gateway says, or it is clear, that nothing was done."""
TRIES = 6
"""How often a client with an idempotency key asks, at any gateway, before it gives up."""
CLIENTS = 40
"""Submissions under way at once, at most."""


@dataclass(slots=True)
class Pace:
    """Hands out ``rate`` turns a second."""

    rate: float
    _next: float = field(default_factory=time.monotonic)

    async def turn(self) -> None:
        """Wait for the next turn; turns that nobody took in time are lost."""
        now = time.monotonic()
        self._next = max(self._next, now - 1.0) + 1.0 / self.rate
        await asyncio.sleep(self._next - now)


class Load:
    """The load of one drill. ``submissions`` are what it remembers."""

    def __init__(self, seed: int, clients: list[AsyncClient], followers: Followers, rate: float) -> None:
        """Submit to ``clients``, one for each gateway, ``rate`` tasks a second."""
        self.submissions: list[Submission] = []
        self._seed = seed
        self._clients = clients
        self._followers = followers
        self._pace = Pace(rate)
        self._numbers: Iterator[int] = itertools.count(1)
        self._stopping = False

    def stop(self) -> None:
        """Submit nothing more; ``run`` returns when all answers are there and all streams over."""
        self._stopping = True

    async def run(self) -> None:
        """Be the clients until stopped."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client(group))

    async def _client(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._pace.turn()
            if self._stopping:
                return
            number = next(self._numbers)
            submission = Submission(draw(self._seed, number))
            self.submissions.append(submission)
            choose = random.Random(f"{self._seed}:client:{number}")  # noqa: S311  the drill must be repeatable
            await self._submit(submission, choose)
            if submission.task is None:
                continue
            for transport in submission.work.followers:
                record = StreamRecord(submission.task, transport, submission.work.text)
                submission.streams.append(record)
                group.create_task(self._followers.follow(record, choose))
            if submission.work.cancel_after is not None:
                group.create_task(self._cancel(submission, choose))

    async def _submit(self, submission: Submission, choose: random.Random) -> None:
        for _ in range(TRIES if submission.work.keyed else 1):
            if await self._answered(submission, choose.choice(self._clients)):
                return
            await asyncio.sleep(choose.uniform(0.2, 1.0))

    async def _answered(self, submission: Submission, client: AsyncClient) -> bool:
        """Submit, and tell whether the client knows what became of it."""
        submission.unknown = None
        work = submission.work
        try:
            task = await client.submit(
                work.input,
                work.model,
                priority=work.priority,
                metadata={LABEL: str(work.number)},
                max_attempts=MAX_ATTEMPTS,
                wait=work.wait,
                idempotency_key=self._key(work) if work.keyed else None,
            )
        except ApiError as error:
            if error.status < 500:
                submission.refused = str(error)
            else:
                submission.unknown = str(error)
        except ClientError as error:
            submission.unknown = str(error)
        else:
            submission.task = task.id
            submission.told = _end(task) if task.finished else None
        return submission.unknown is None

    def _key(self, work: Work) -> str:
        return f"drill-{self._seed}-{work.number}"

    async def _cancel(self, submission: Submission, choose: random.Random) -> None:
        await asyncio.sleep(submission.work.cancel_after or 0)
        submission.cancel_asked = True
        try:
            task = await choose.choice(self._clients).cancel(submission.task or "")
        except ClientError:
            return
        submission.cancel_told = task.status == "canceled"


def _end(task: Task) -> End:
    error = {"code": task.error.code, "message": task.error.message} if task.error else None
    return End(task.status, task.attempt, task.output, error)
