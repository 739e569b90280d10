"""Design §8, "Redis away": stopped and paused under load, and back; nobody but an operator notices."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from tests.e2e.failures import ANSWER_WITHIN, CHUNKS, TEXT, Follower, Stage
from tests.e2e.grids import text_of
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(400)


def take_away(stage: Stage, how: str) -> None:
    if how == "paused":
        stage.redis.pause()
    else:
        asyncio.run(stage.redis.kill())


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_redis_goes_and_comes_back(stage: Stage, how: str) -> None:
    """Without Redis every submission is accepted and done, live events reach those at the gateway of the node,
    the others get all of it in the end, and tasks find their way to another gateway's node by polling.

    Health says ready, but degraded, and names Redis. When Redis is back, so is everything, by itself.
    """
    a, b = stage.a, stage.b
    with stage.load() as load:
        task = stage.sleep(6, CHUNKS)
        near, far = Follower(stage, task, a), Follower(stage, task, b)
        until_blocking(lambda: near.chunks and far.chunks, what="events reach both gateways")
        take_away(stage, how)
        gone_at = time.monotonic()
        stage.until_ready_says(httpx.codes.OK, "degraded")
        for gateway in (a, b):
            code, details = stage.health(gateway, "detailed")
            assert (code, details["parts"]["database"]["status"]) == (httpx.codes.OK, "ok")
            assert details["parts"]["redis"]["status"] == "failing"
        heard = near.chunks
        until_blocking(lambda: near.chunks >= heard + 10, what="events still reach their own gateway")
        assert near.events[-1]["type"] == "task.chunk", "they came while the task ran"
        (elsewhere,) = stage.tasks([stage.sleep(0, 0, at=b)], at=b)
        assert (elsewhere["status"], elsewhere["node"]) == ("completed", "node-a")
        asyncio.run(stage.redis.mend())
        stage.until_ready_says(httpx.codes.OK, "ok")
        assert stage.health(b, "detailed")[1]["parts"]["redis"]["issue"] is None
        again = stage.sleep(3, CHUNKS)
        live = Follower(stage, again, b)
        until_blocking(lambda: live.chunks > 5, what="events reach the other gateway again")
        assert live.events[-1]["type"] == "task.chunk", "they came while the task ran"

    for follower in (near, far, live):
        assert text_of(follower.ended()) == TEXT
        assert follower.events[-1]["type"] == "task.completed"
        assert follower.codes == []
    assert load.unreachable == 0
    assert {answer.status for answer in load.answers} == {httpx.codes.ACCEPTED}
    assert max(answer.seconds for answer in load.since(gone_at)) < ANSWER_WITHIN
    done = stage.tasks([task, again, *load.accepted], at=b)
    assert {(each["status"], each["attempt"]) for each in done} == {("completed", 1)}
