"""Nodes that leave under load, as separate processes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.e2e.grids import LONG, Cluster
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(400)
TASKS = 40


def test_drain_under_load(cluster: Cluster) -> None:
    """Of two busy nodes one is drained: every task completes, none is charged, and the node's process ends well.

    Started again, it gets nothing until it is taken back; its token revoked, it ends by itself.
    """
    gateway = cluster.gateway("a")
    node = cluster.node("node-a", gateway, "debug.sleep")
    cluster.node("node-b", gateway, "debug.sleep")
    user, grid = cluster.user, cluster.grid
    grid.run("user", "create", "op@example.org", "--role", "operator")
    key = grid.run("key", "create", "--user", "op@example.org", "--name", "test").strip()
    operate = ("--url", gateway.url, "--api-key", key)

    tasks = [user.submit(gateway, "debug.sleep", {"seconds": 3}) for _ in range(TASKS)]
    until_blocking(
        lambda: any(user.task(gateway, task)["node"] == "node-a" for task in tasks),
        LONG,
        what="node-a has work",
    )
    assert grid.run("nodes", "drain", "node-a", "--deadline", "1s", *operate) == "draining\n"
    done = [user.finished(gateway, task) for task in tasks]

    assert {(task["status"], task["errors"]) for task in done} == {("completed", 0)}
    events = [event for task in tasks for event in user.states(gateway, task)]
    kinds = Counter(event["type"] for event in events)
    assert kinds["task.completed"] == TASKS
    assert {event["data"]["reason"] for event in events if event["type"] == "task.retrying"} <= {
        "drained",
        "draining",
    }
    until_blocking(lambda: node.returncode is not None, LONG, what="node-a has ended")
    assert node.returncode == 0, node.output()

    again = cluster.node("node-a", gateway, "debug.sleep")
    later = [user.submit(gateway, "debug.sleep", {"seconds": 0.1}) for _ in range(20)]
    assert {user.finished(gateway, task)["node"] for task in later} == {"node-b"}
    (token,) = [line.split()[0] for line in grid.run("nodes", "tokens", *operate).splitlines()[1:]]
    grid.run("nodes", "revoke", token, *operate)
    until_blocking(lambda: again.returncode is not None, LONG, what="node-a has ended")
    assert (again.returncode, "revoked" in again.output()) == (2, True)


def test_sigterm_lets_tasks_finish(cluster: Cluster) -> None:
    """A node that is told to stop finishes what it runs and exits with 0; the rest never was its own."""
    gateway = cluster.gateway("a")
    node = cluster.node("node-a", gateway, "debug.sleep")
    user = cluster.user
    task = user.submit(gateway, "debug.sleep", {"seconds": 2})
    until_blocking(lambda: user.task(gateway, task)["status"] == "running", LONG, what="it runs")
    assert node.terminate(LONG) == 0
    done = user.finished(gateway, task)
    assert (done["status"], done["attempt"], done["errors"]) == ("completed", 1, 0)
