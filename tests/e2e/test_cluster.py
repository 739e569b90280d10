"""Several gateways and nodes on PostgreSQL and Valkey, as separate processes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.e2e.grids import Cluster, Event, first, text_of
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(400)
SLEEP = {"seconds": 6, "chunks": 120}
PROMPT = "Write a long story about a lighthouse keeper and his paper clips."


def chunks_of(events: list[Event]) -> int:
    return sum(event["type"] == "task.chunk" for event in events)


def ids_of(events: list[Event]) -> list[tuple[int, int]]:
    return [(int(attempt), int(seq)) for attempt, _, seq in (event["id"].partition("-") for event in events)]


def whole(events: list[Event]) -> bool:
    """Tell whether the events of an undisturbed task are all there, in order and once."""
    return ids_of(events) == [(0, 1), *((1, seq) for seq in range(1, len(events)))]


@pytest.mark.parametrize(
    ("model", "input", "parameters"),
    [
        pytest.param("debug.sleep", SLEEP, {}, id="debug.sleep"),
        pytest.param(
            "smollm2-135m",
            PROMPT,
            {"max_tokens": 160},
            id="smollm2-135m",
            marks=pytest.mark.models,
        ),
    ],
)
def test_stream_across_gateways(cluster: Cluster, model: str, input: Any, parameters: dict[str, Any]) -> None:
    """A WebSocket at one gateway gets, in order and once, every chunk of a task submitted at the other.

    Cut in the middle and taken up at the other gateway with the last id, it has the whole output.
    """
    a, b = cluster.gateway("a"), cluster.gateway("b")
    cluster.node("node-a", a, model)
    cluster.node("node-b", b, model)
    user = cluster.user
    task = user.submit(b, model, input, parameters=parameters)

    unbroken: list[Event] = []
    follower = threading.Thread(target=lambda: unbroken.extend(user.follow(a, task)))
    follower.start()
    cut = first(user.follow(a, task), lambda seen: chunks_of(seen) == 20)
    rest = list(user.follow(b, task, after=cut[-1]["id"]))
    follower.join()

    assert whole(unbroken)
    assert [event["id"] for event in cut + rest] == [event["id"] for event in unbroken]
    assert text_of(cut + rest) == text_of(unbroken)
    assert unbroken[-1]["type"] == "task.completed"
    output = user.finished(a, task)["output"]
    assert unbroken[-1]["data"]["output"] == output
    if model == "debug.sleep":
        assert text_of(unbroken) == "".join(f"{n} " for n in range(1, SLEEP["chunks"] + 1))
    else:
        assert text_of(unbroken) == output["text"]


def test_task_of_a_killed_node_runs_again(cluster: Cluster) -> None:
    """A node killed in the middle of a task loses it to the other, where it completes, once, as attempt 2.

    Whoever was subscribed, at either gateway, saw `task.retrying` and has the text of the second attempt alone.
    """
    a, b = cluster.gateway("a"), cluster.gateway("b")
    nodes = {
        "node-a": cluster.node("node-a", a, "debug.sleep"),
        "node-b": cluster.node("node-b", b, "debug.sleep"),
    }
    user = cluster.user
    task = user.submit(a, "debug.sleep", SLEEP)
    seen: dict[str, list[Event]] = {"a": [], "b": []}
    followers = [
        threading.Thread(
            target=lambda name=name, gateway=gateway: seen[name].extend(user.follow(gateway, task))
        )
        for name, gateway in (("a", a), ("b", b))
    ]
    for follower in followers:
        follower.start()
    first(user.follow(b, task), lambda events: chunks_of(events) == 20)
    victim = user.task(a, task)["node"]
    nodes[victim].kill()
    done = user.finished(b, task)
    for follower in followers:
        follower.join()

    assert (done["status"], done["attempt"], done["errors"]) == ("completed", 2, 0)
    assert done["node"] in set(nodes) - {victim}
    assert [event["type"] for event in user.states(a, task)] == [
        "task.queued",
        "task.running",
        "task.retrying",
        "task.running",
        "task.completed",
    ]
    for events in seen.values():
        types = [event["type"] for event in events]
        assert types.count("task.retrying") == types.count("task.completed") == 1
        assert ids_of(events) == sorted(set(ids_of(events)))
        assert text_of(events) == "".join(f"{n} " for n in range(1, SLEEP["chunks"] + 1))


def test_tasks_outlive_a_killed_gateway(cluster: Cluster) -> None:
    """With one of two gateways killed, its node goes to the other and every accepted task completes once."""
    a, b = cluster.gateway("a"), cluster.gateway("b")
    cluster.node("node-b", b, "debug.sleep", "debug.echo")
    user = cluster.user
    tasks = [user.submit(a, "debug.sleep", {"seconds": 0.5}) for _ in range(30)]
    until_blocking(lambda: user.task(a, tasks[2])["finished_at"], what="some are done")
    a.kill()
    for task in tasks:
        assert user.finished(b, task)["status"] == "completed"
        types = [event["type"] for event in user.states(b, task)]
        assert types.count("task.completed") == 1
    assert user.finished(b, user.submit(b, "debug.echo", 1))["output"] == 1
