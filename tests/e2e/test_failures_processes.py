"""Design §8: gateways killed and stopped, nodes killed, hung and cut off, all of it under load."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from neurogrid.drill.proxy import Proxy
from tests.e2e.failures import CHUNKS, TEXT, Follower, Stage
from tests.e2e.grids import LONG, text_of
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(400)
RESTARTING = 1012
VICTIMS = ("killed", "hung", "cut-off")


def ws(url: str) -> str:
    return url.replace("http", "ws")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_gateway_goes(stage: Stage, how: str) -> None:
    """Of two gateways one is killed, or told to stop: its readers go on at the other without a gap, its node
    re-attaches there and keeps its task, and whatever was accepted is done, once.

    One told to stop says so to its readers (1012), answers whoever waits for a result, and ends with 0.
    """
    a, b = stage.a, stage.b
    name = f"roaming-{how}"
    node = stage.node(name, ws(a.url), ws(b.url), label=f"home={name}")
    waiting = ThreadPoolExecutor(1)
    with stage.load() as load:
        task = stage.sleep(8, CHUNKS, requires={"home": name})
        cut, unbroken = Follower(stage, task, a, b), Follower(stage, task, b)
        waited = waiting.submit(wait_for_result, stage, {"home": name})
        until_blocking(lambda: cut.chunks > 5 and unbroken.chunks > 5, what="both readers have events")
        until_blocking(lambda: sum(each["node"] == name for each in running(stage)) > 1, what="one waits")
        if how == "killed":
            a.kill()
        else:
            assert a.terminate() == 0, a.output()
        gone_at = time.monotonic()
        cut.ended()
        unbroken.ended()
        until_blocking(lambda: len(load.accepted_since(gone_at)) > 5, what="the other one accepts tasks")
    answer = waited.result(LONG)
    stage.start_again(a)

    assert cut.whole
    assert unbroken.whole
    (done,) = stage.tasks([task], at=b)
    assert (done["status"], done["attempt"], done["node"]) == ("completed", 1, name)
    ends = {stage.ends(each["id"], at=b) for each in stage.tasks(load.accepted, at=b)}
    assert ends == {1}
    assert {answer.status for answer in load.answers} <= {202, 503}
    if how == "stopped":
        assert cut.codes == [RESTARTING]
        assert answer is not None, "who waits for a result is not cut off"
        assert answer.status_code in {httpx.codes.OK, httpx.codes.ACCEPTED}
        (late,) = stage.tasks([answer.json()["id"]], at=b)
        assert late["status"] == "completed"
    assert node.terminate() == 0


def wait_for_result(stage: Stage, requires: dict[str, str]) -> httpx.Response | None:
    # Longer than a gateway that stops has time for.
    body = {"model": "debug.sleep", "input": {"seconds": 10}, "requires": requires}
    with stage.cluster.user.http(stage.a) as http:
        try:
            return http.post("/v1/tasks", json=body, headers={"Prefer": "wait=30"})
        except httpx.TransportError:
            return None


def test_nodes_are_killed_hang_and_are_cut_off(stage: Stage) -> None:
    """The tasks of a node that is killed, hangs, or cannot be reached run again elsewhere when its lease ends, and
    end once; their readers are told to start over, and have the whole text of the second attempt.

    A node that comes back is told to let go, and gets work again.
    """
    a, b = stage.a, stage.b
    with network(a.url) as lead, stage.load() as load:
        nodes = {
            name: stage.node(name, ws(lead.url if name == "cut-off" else a.url), label=f"name={name}")
            for name in VICTIMS
        }
        tasks = [stage.sleep(4, CHUNKS) for _ in range(12)]
        followers = {task: Follower(stage, task, b) for task in tasks}
        placed: dict[str, str] = {}

        def all_placed() -> bool:
            placed.update({task["id"]: task["node"] for task in running(stage)})
            return set(VICTIMS) <= {placed.get(task) for task in tasks}

        until_blocking(all_placed, LONG, what=f"each has a task, of {placed}")
        nodes["killed"].kill()
        nodes["hung"].send(signal.SIGSTOP)
        lead.freeze()
        done = stage.tasks(tasks, at=b)
        nodes["hung"].send(signal.SIGCONT)
        lead.thaw()
        for name in ("hung", "cut-off"):
            (again,) = stage.tasks([stage.sleep(0, 0, requires={"name": name})], at=b)
            assert (again["status"], again["node"]) == ("completed", name)

    lost = [task for task in done if placed.get(task["id"]) in VICTIMS]
    assert {placed[task["id"]] for task in lost} == set(VICTIMS)
    assert {task["status"] for task in lost} == {"completed"}
    assert (
        min(task["attempt"] for task in lost) == 2
    )  # more where a victim, not yet given up, got it once more
    assert {task["node"] for task in lost} == {"node-a"}
    assert {task["status"] for task in done} == {"completed"}
    for task in tasks:
        assert text_of(followers[task].ended()) == TEXT
        assert stage.ends(task, at=a) == 1
    assert {answer.status for answer in load.answers} == {httpx.codes.ACCEPTED}
    assert {task["status"] for task in stage.tasks(load.accepted, at=b)} == {"completed"}


def running(stage: Stage) -> list[Any]:
    with stage.cluster.user.http(stage.b) as http:
        answer = http.get("/v1/tasks", params={"status": "running", "model": "debug.sleep", "limit": 100})
    tasks: list[Any] = answer.raise_for_status().json()["data"]
    return tasks


class Lead:
    """A cable to a gateway, which may be pulled."""

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.url = f"http://127.0.0.1:{proxy.port}"
        self._proxy = proxy
        self._loop = loop

    def freeze(self) -> None:
        """Let nothing pass, and let nobody notice."""
        self._loop.call_soon_threadsafe(self._proxy.freeze)

    def thaw(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._proxy.thaw)


@contextmanager
def network(url: str) -> Iterator[Lead]:
    """Lead to the gateway at ``url`` for the length of the block."""
    port = int(url.rpartition(":")[2])
    loop = asyncio.new_event_loop()
    proxy = Proxy("node from gateway", lambda: asyncio.open_connection("127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(LONG)
        yield Lead(proxy, loop)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(LONG)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
