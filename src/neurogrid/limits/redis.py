"""Counting for all gateways together, in Redis: one round trip for all that is asked for in one turn (LIM-4, R27).

Whoever asks while Redis is away, or is not answered in time, is answered by ``Shares`` in the same moment. Only a probe
in the background ever waits for a Redis that is away. When it is back it is told what was granted without it, and what
it was last known to have counted, should it have lost that. What it had counted when its answer came too late counts
twice then: a mistake on the strict side.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from neurogrid.core.settings_limits import LimitSettings
from neurogrid.limits.batch import Batch, Call, mending
from neurogrid.limits.script import MEND, PRESENCE, TAKE
from neurogrid.limits.shares import Mend, Shares
from neurogrid.limits.windows import Answer, Take, Window

log = structlog.get_logger(__name__)

AWAY: Final = (RedisError, OSError, TimeoutError)
PRESENCE_EVERY: Final = 2.0
PRESENT_FOR: Final = 8_000
"""How long a gateway that has said that it lives is one of those that share the limits (ms)."""
MENDS_AT_ONCE: Final = 500
LEAST_PATIENCE: Final = 0.03
"""Seconds that Redis gets for an answer even when this process itself was late to ask."""


class _Waiting(NamedTuple):
    takes: Sequence[Take]
    answer: asyncio.Future[Answer]
    since: float


class RedisEngine:
    """Grants by what Redis has counted, and by ``shares`` while it is away."""

    def __init__(
        self, url: str, settings: LimitSettings, shares: Shares, gateway: str, prefix: str = "ng:"
    ) -> None:
        """Connect to nothing yet."""
        self._settings = settings
        self._shares = shares
        self._gateway = gateway
        self._prefix = prefix
        self._client: Redis = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_timeout,
            retry=Retry(NoBackoff(), 0),
        )
        self._waiting: list[_Waiting] = []
        self._mends: list[Mend] = []
        self._filled = asyncio.Event()
        self.healthy = False
        self.outages = 0

    async def take(self, takes: Sequence[Take]) -> Answer:
        """Grant all or nothing."""
        if not self.healthy:
            return self._shares.take(takes)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Waiting(takes, answer, loop.time()))
        self._filled.set()
        return await answer

    def add(self, owner: str, window: Window, at: int, cost: int) -> None:
        """Count ``cost`` more (less, where negative) as of ``at``, whatever the limit; with what is asked for next."""
        if not self.healthy:
            self._shares.add(owner, window, at, cost)
            return
        self._mends.append(Mend(owner, window, at, 0, cost))
        self._filled.set()

    async def run(self, tried: Callable[[], None]) -> None:
        """Carry what is asked for; runs until cancelled. ``tried`` is called after each attempt to connect."""
        try:
            while True:
                try:
                    await self._welcome_back()
                    tried()
                    await self._carry()
                except AWAY as error:
                    self._go_on_alone(error)
                tried()
                await asyncio.sleep(self._settings.redis_retry)
        finally:
            self._go_on_alone(None)
            await self._leave()

    # --- while Redis is there -----------------------------------------------------------------

    async def _carry(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._filled.wait()
            self._filled.clear()
            waiting, mends = self._waiting, self._mends
            oldest = waiting[0].since if waiting else loop.time()
            until = max(oldest + self._settings.redis_timeout, loop.time() + LEAST_PATIENCE)
            batch = Batch([each.takes for each in waiting])
            calls = batch.calls()
            takes = len(calls)
            calls += mending(mends)
            self._waiting, self._mends = [], []
            try:
                async with asyncio.timeout_at(until):
                    results = await self._execute(calls)
            except BaseException:
                self._waiting, self._mends = [*waiting, *self._waiting], [*mends, *self._mends]
                raise
            self._answer(waiting, batch, results[:takes])

    def _answer(self, waiting: Sequence[_Waiting], batch: Batch, results: Sequence[Any]) -> None:
        for each, (answer, undo) in zip(waiting, batch.answers(results), strict=True):
            self._shares.saw(each.takes, answer)
            for owner, window, at, cost in undo:
                self.add(owner, window, at, -cost)
            if not each.answer.done():
                each.answer.set_result(answer)

    async def _execute(self, calls: Sequence[Call]) -> list[Any]:
        results = await self._pipeline(calls)
        missing = [place for place, result in enumerate(results) if isinstance(result, NoScriptError)]
        if missing:
            # Without the script nothing was done, so doing it again repeats nothing.
            await self._client.script_load(TAKE)
            await self._client.script_load(MEND)
            again = await self._pipeline([calls[place] for place in missing])
            for place, result in zip(missing, again, strict=True):
                results[place] = result
        for result in results:
            if isinstance(result, RedisError):
                raise result
        return results

    async def _pipeline(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for digest, owner, arguments in calls:
            pipeline.evalsha(digest, 1, f"{self._prefix}limit:{{{owner}}}", *arguments)
        return await pipeline.execute(raise_on_error=False)

    async def be_present(self) -> None:
        """Say that this gateway lives, and count those that do."""
        if not self.healthy:
            return
        with contextlib.suppress(*AWAY):  # whoever carries requests notices, too
            async with asyncio.timeout(self._settings.redis_timeout):
                self._shares.gateways = max(1, await self._say_present())

    async def _say_present(self) -> int:
        key = f"{self._prefix}limit-gateways"
        return int(await self._client.eval(PRESENCE, 1, key, self._gateway, PRESENT_FOR))

    # --- while it is away ---------------------------------------------------------------------

    async def _welcome_back(self) -> None:
        """Reach Redis, and tell it what it has lost and missed."""
        async with asyncio.timeout(self._settings.redis_timeout):
            self._shares.gateways = max(1, await self._say_present())
        await self._tell(self._shares.known())
        await self._tell_news()
        await self._tell_news()  # of the time that took: it is little by now
        self._shares.end()
        self.healthy = True
        log.info("limits.shared", gateways=self._shares.gateways)

    async def _tell_news(self) -> None:
        news = self._shares.news()
        try:
            await self._tell(news)
        except BaseException:
            self._shares.untold(news)
            raise
        self._shares.told(news)

    async def _tell(self, mends: Sequence[Mend]) -> None:
        calls = iter(list(mending(mends)))
        while some := list(islice(calls, MENDS_AT_ONCE)):
            async with asyncio.timeout(self._settings.redis_timeout):
                await self._execute(some)

    def _go_on_alone(self, error: BaseException | None) -> None:
        if self.healthy:
            self.healthy = False
            self.outages += 1
            if error is not None:
                log.warning("limits.redis_away", error=str(error) or type(error).__name__)
        mends, self._mends = self._mends, []
        for owner, window, at, _, more in mends:
            if more > 0:  # it may have been counted already, so nothing is given back a second time
                self._shares.add(owner, window, at, more)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.answer.done():
                each.answer.set_result(self._shares.take(each.takes))

    async def _leave(self) -> None:
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(self._settings.redis_timeout):
                await self._client.zrem(f"{self._prefix}limit-gateways", self._gateway)
        with contextlib.suppress(*AWAY):
            await self._client.aclose()
