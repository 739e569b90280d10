"""Clients that submit, wait, cancel, follow and go away, and remember what they were told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field

from neurogrid.client.asynchronous import AsyncClient
from neurogrid.client.errors import ApiError, ClientError
from neurogrid.client.types import Task
from neurogrid.drill.bulk import BulkClient
from neurogrid.drill.records import StreamRecord, Submission
from neurogrid.drill.rows import LABEL
from neurogrid.drill.streams import Followers
from neurogrid.drill.work import MAX_ATTEMPTS, End, Group, Work, draw_group

TIMEOUT = 8.0
"""Seconds a client waits for an answer: longer than a gateway may take to say that it cannot."""
RETRIES = 2
"""How often a client tries again where the gateway says, or it is clear, that nothing was done."""
TRIES = 6
"""How often a client with an idempotency key asks, at any gateway, before it gives up."""
CLIENTS = 40
"""Groups of submissions under way at once, at most."""
LOOK_EVERY = 1.0
"""Seconds after which a client looks again whether its task is over."""
CONFLICT = 409


@dataclass(slots=True)
class Pace:
    """Hands out ``rate`` turns a second."""

    rate: float
    _next: float = field(default_factory=time.monotonic)

    async def turn(self, turns: int = 1) -> None:
        """Wait for the next turn, and take ``turns`` of them; those that nobody took in time are lost."""
        now = time.monotonic()
        self._next = max(self._next, now - 1.0) + turns / self.rate
        await asyncio.sleep(self._next - now)


class Load:
    """The load of one drill. ``submissions`` are what it remembers."""

    def __init__(
        self, seed: int, clients: list[AsyncClient], bulk: BulkClient, followers: Followers, rate: float
    ) -> None:
        """Submit to ``clients``, one for each gateway, ``rate`` tasks a second."""
        self.submissions: list[Submission] = []
        self.busy = 0
        """Clients that are still about to do something, besides reading streams."""
        self._seed = seed
        self._clients = clients
        self._bulk = bulk
        self._followers = followers
        self._pace = Pace(rate)
        self._next = 1
        self._stopping = False

    def stop(self) -> None:
        """Submit nothing more; ``run`` returns when all answers are there and all streams over."""
        self._stopping = True

    async def run(self) -> None:
        """Be the clients until stopped."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._counted(self._client(group)))

    async def _counted(self, acting: Coroutine[None, None, None]) -> None:
        self.busy += 1
        try:
            await acting
        finally:
            self.busy -= 1

    async def _client(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._pace.turn()
            if self._stopping:
                return
            group = draw_group(self._seed, self._next)
            self._next += len(group.works)
            submissions = [Submission(work, bulk=group.bulk) for work in group.works]
            self.submissions += submissions
            if len(submissions) > 1:
                await self._pace.turn(len(submissions) - 1)
            await self._submit_group(group, submissions, tasks)

    async def _submit_group(
        self, group: Group, submissions: Sequence[Submission], tasks: asyncio.TaskGroup
    ) -> None:
        chosen = [self._chooser("client", one.work) for one in submissions]
        if group.bulk:
            await self._bulk.submit(submissions, chosen[0])
        else:
            await asyncio.gather(
                *(self._submit(one, choose) for one, choose in zip(submissions, chosen, strict=True))
            )
        for submission, choose in zip(submissions, chosen, strict=True):
            if submission.task is not None:
                self._attend(submission, submission.task, choose, tasks)

    def _chooser(self, what: str, work: Work) -> random.Random:
        return random.Random(f"{self._seed}:{what}:{work.number}")  # noqa: S311  the drill must be repeatable

    def _attend(
        self, submission: Submission, task: str, choose: random.Random, tasks: asyncio.TaskGroup
    ) -> None:
        """Do what its client wants of an accepted task besides."""
        work = submission.work
        leaves_after = work.leave.after if work.leave is not None else None
        for transport in work.followers:
            record = StreamRecord(task, transport, work.text)
            submission.streams.append(record)
            tasks.create_task(self._followers.follow(record, choose, leaves_after))
        if work.cancel_after is not None:
            tasks.create_task(self._counted(self._cancel(submission, task, choose)))
        if work.repeat_after is not None:
            tasks.create_task(self._counted(self._repeat(submission, self._chooser("repeat", work))))
        if work.replay:
            tasks.create_task(self._counted(self._replay(submission, task, self._chooser("replay", work))))

    async def _submit(self, submission: Submission, choose: random.Random) -> None:
        work = submission.work
        waits = work.wait
        if work.leave is not None and waits is not None:
            await self._leave(submission, choose.choice(self._clients), work.leave.after)
            if submission.unknown is None or not work.keyed:
                return
            waits = None
        for _ in range(TRIES if work.keyed else 1):
            if await self._answered(submission, choose.choice(self._clients), waits):
                return
            await asyncio.sleep(choose.uniform(0.2, 1.0))

    async def _leave(self, submission: Submission, client: AsyncClient, after: float) -> None:
        """Submit, and hang up after so many seconds, unless there is an answer before."""
        try:
            async with asyncio.timeout(after):
                await self._answered(submission, client, submission.work.wait)
        except TimeoutError:
            submission.left = True
            submission.unknown = "its client went away"

    async def _answered(self, submission: Submission, client: AsyncClient, wait: int | None) -> bool:
        """Submit, and tell whether the client knows what became of it."""
        submission.unknown = None
        try:
            task = await self._ask(submission.work, client, wait)
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

    async def _ask(self, work: Work, client: AsyncClient, wait: int | None) -> Task:
        return await client.submit(
            work.input,
            work.model,
            priority=work.priority,
            metadata={LABEL: str(work.number)},
            max_attempts=MAX_ATTEMPTS,
            on_disconnect=work.leave.on_disconnect if work.leave is not None else None,
            wait=wait,
            idempotency_key=f"drill-{self._seed}-{work.number}" if work.keyed else None,
        )

    async def _repeat(self, submission: Submission, choose: random.Random) -> None:
        """Submit again under the same key, as one does who has forgotten the answer."""
        await asyncio.sleep(submission.work.repeat_after or 0)
        for _ in range(TRIES):
            try:
                task = await self._ask(submission.work, choose.choice(self._clients), None)
            except ApiError as error:
                if error.status < 500:
                    submission.denied.append(f"asked for again under its key: {error}")
                    return
            except ClientError:
                pass
            else:
                submission.repeated.append(task.id)
                return
            await asyncio.sleep(choose.uniform(0.2, 1.0))

    async def _replay(self, submission: Submission, task: str, choose: random.Random) -> None:
        """Wait for the end of a task, and have it run again if it is a dead letter."""
        for _ in range(TRIES):
            if not await self._dead(task, choose):
                return
            try:
                await choose.choice(self._clients).retry(task)
            except ApiError as error:
                if error.status < 500:
                    # One that was asked for before without an answer may have come to pass, and be over by now.
                    if error.status != CONFLICT or not submission.replays_unknown:
                        submission.denied.append(f"failed, but is not run again: {error}")
                    return
                submission.replays_unknown += 1
            except ClientError:
                submission.replays_unknown += 1
            else:
                submission.replays += 1
                return

    async def _dead(self, task: str, choose: random.Random) -> bool:
        while True:
            try:
                found = await choose.choice(self._clients).get(task)
            except ClientError:
                pass
            else:
                if found.finished:
                    return found.status == "failed"
            await asyncio.sleep(LOOK_EVERY)

    async def _cancel(self, submission: Submission, task: str, choose: random.Random) -> None:
        await asyncio.sleep(submission.work.cancel_after or 0)
        submission.cancel_asked = True
        try:
            answer = await choose.choice(self._clients).cancel(task)
        except ClientError:
            return
        submission.cancel_told = answer.status == "canceled"


def _end(task: Task) -> End:
    error = {"code": task.error.code, "message": task.error.message} if task.error else None
    return End(task.status, task.attempt, task.output, error)
