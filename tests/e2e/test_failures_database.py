"""Design §8, "database away": stopped and paused under load, for longer than a lease, and back."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import httpx
import pytest

from tests.e2e.failures import ANSWER_WITHIN, BACK_WITHIN, CHUNKS, Follower, Stage
from tests.e2e.grids import LONG
from tests.support.processes import GridProcess, free_port
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(400)
REFUSED = httpx.codes.SERVICE_UNAVAILABLE
AWAY = 6.0
"""Seconds: two leases, and more than a submission may take."""


def take_away(stage: Stage, how: str) -> None:
    if how == "paused":
        stage.database.pause()
    else:
        asyncio.run(stage.database.crash())


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_the_database_goes_and_comes_back(stage: Stage, how: str) -> None:
    """Without the database submissions are refused in time, with the advice to come back; what runs goes on, and
    its readers see it; gateways are alive, but not ready.

    When it is back, what ended meanwhile is written, nobody has lost a task, and all goes on by itself.
    """
    a, b = stage.a, stage.b
    with stage.load() as load:
        short, long = stage.sleep(4, CHUNKS), stage.sleep(10, CHUNKS)
        near, far = Follower(stage, short, a, b), Follower(stage, long, b, a)
        until_blocking(lambda: near.chunks and far.chunks, what="both tasks run")
        take_away(stage, how)
        gone_at = time.monotonic()
        stage.until_ready_says(REFUSED, "unavailable")
        heard = far.chunks
        for gateway in (a, b):
            assert stage.health(gateway, "live")[0] == httpx.codes.OK
            code, details = stage.health(gateway, "detailed")
            assert (code, details["parts"]["database"]["status"]) == (REFUSED, "failing")
            assert details["parts"]["redis"]["status"] == "ok"
        until_blocking(
            lambda: near.chunks == CHUNKS and far.chunks > heard, what="one runs to its end, the other on"
        )
        until_blocking(lambda: time.monotonic() > gone_at + AWAY, what="a lease and more is over")
        back_at = time.monotonic()
        asyncio.run(stage.database.mend())
        stage.until_ready_says(httpx.codes.OK, "ok")
        until_blocking(lambda: load.accepted_since(back_at), BACK_WITHIN, what="tasks are accepted")
        done = stage.tasks([short, long], at=b)

    answers = load.since(gone_at)
    refused = [answer for answer in answers if not answer.accepted]
    assert len([answer for answer in refused if answer.asked_at < back_at]) > AWAY
    assert {(answer.status, answer.retry_after is not None) for answer in refused} == {(REFUSED, True)}
    assert max(answer.seconds for answer in answers) < ANSWER_WITHIN
    assert load.unreachable == 0
    done += stage.tasks(load.accepted, at=a)
    assert {(task["status"], task["attempt"]) for task in done} == {("completed", 1)}
    assert {stage.ends(task["id"], at=a) for task in done} == {1}
    for follower in (near, far):
        follower.ended()
        assert follower.whole


def test_a_gateway_waits_for_the_database(stage: Stage) -> None:
    """A gateway that starts before its database lives, is not ready, says for what it waits, and serves when it
    is there; one told to stop meanwhile does so; one whose time is over says why.
    """
    asyncio.run(stage.database.crash())
    patient = stage.serve(str(free_port()), "patient")
    stopped = stage.serve(str(free_port()), "stopped")
    hasty = stage.serve(str(free_port()), "hasty", {"NEUROGRID_DATABASE_WAIT": "0.5"})
    for gateway in (patient, stopped):
        until_blocking(partial(alive, stage, gateway), LONG, what=f"{gateway.name} lives")
        assert stage.health(gateway, "ready")[0] == REFUSED
        assert stage.health(gateway, "detailed")[1]["parts"]["database"]["status"] == "failing"
        assert "database.awaited" in gateway.output()
    refusal = httpx.post(f"{patient.url}/v1/tasks", json={}, trust_env=False)
    assert (refusal.status_code, refusal.headers["Retry-After"]) == (REFUSED, "5")
    assert stopped.terminate() == 0
    until_blocking(lambda: hasty.returncode is not None, LONG, what="the hasty one gave up")
    assert hasty.returncode == 3
    assert "the database is away" in hasty.output()

    asyncio.run(stage.database.mend())
    patient.wait_until_ready()
    user = stage.cluster.user
    assert user.finished(patient, user.submit(patient, "debug.echo", "served"))["output"] == "served"
    assert patient.terminate() == 0
    stage.until_ready_says(httpx.codes.OK, "ok")


def alive(stage: Stage, gateway: GridProcess) -> bool:
    assert gateway.returncode is None, gateway.output()
    try:
        return stage.health(gateway, "live")[0] == httpx.codes.OK
    except httpx.TransportError:
        return False
