"""Deadlines: what is too late does not run, does not wait, and stops."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from neurogrid.protocol.events import EventType
from neurogrid.protocol.messages import Assign, Cancel, Committed, Error, Failure, Refused
from neurogrid.queue.policy import RetryPolicy
from tests.support.scripted import World
from tests.support.truth import LONG_AGO
from tests.support.until import until

pytestmark = pytest.mark.asyncio

FAR = datetime(2999, 1, 1, tzinfo=UTC)


def in_(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def code(row: Any) -> str:
    return str(json.loads(row["error"])["code"])


async def test_a_queued_task_that_is_too_late_fails(world: World) -> None:
    """A task still queued when its deadline passes fails by itself, uncharged, and its watchers hear of it."""
    node = await world.node(slots=1)
    blocker = await world.submit()
    task = await world.submit(deadline=in_(0.3))
    heard = await world.follow(task)
    row = await world.reaches(task, "failed")
    assert code(row) == "deadline_exceeded"
    assert (row["errors"], row["losses"], row["dead_letter"], row["compute_seconds"]) == (0, 0, False, 0)
    assert await world.truth.history(task) == [("0-1", "task.queued"), ("2-0", "task.failed")]
    await until(lambda: heard.events and heard.events[-1].type is EventType.FAILED)
    assert heard.ids[-1] == "2-0"
    order = await node.expect(Assign)
    assert order.task == blocker
    await node.finish(order)
    later = await world.submit()
    assert (await node.expect(Assign)).task == later
    await world.cancel(later)


async def test_a_waiting_task_that_is_too_late_fails(world: World) -> None:
    """A deadline passes during a backoff, too."""
    world.gateway.gate._settlements._policy = RetryPolicy(base=1000.0, longest=1000.0)
    node = await world.node()
    task = await world.submit(deadline=FAR)
    await node.fail(await node.expect(Assign))
    await world.reaches(task, "waiting")
    await world.truth.alter(task, deadline=LONG_AGO)
    row = await world.reaches(task, "failed")
    assert (code(row), row["run_at"], row["wait_reason"]) == ("deadline_exceeded", None, None)


async def test_a_running_task_is_stopped_at_its_deadline(world: World) -> None:
    """The work of a task that is too late is stopped, its slot is free, and what it still says is refused."""
    node = await world.node(slots=1)
    task = await world.submit(deadline=in_(1.0))
    order = await node.expect(Assign)
    assert order.timeout_s is not None
    assert 0 < order.timeout_s <= 1.0
    for seq in (2, 3):
        await node.chunk(order, seq)
    stop = await node.expect(Cancel)
    assert (stop.task, stop.attempt) == (task, 1)
    row = await world.reaches(task, "failed")
    assert code(row) == "deadline_exceeded"
    row = await world.reaches(task, "failed", completion_tokens=2)
    assert row["compute_seconds"] > 0
    await node.finish(order, seq=3)
    await node.expect(Refused)
    assert [kind for _, kind in await world.truth.history(task)].count("task.failed") == 1
    other = await world.submit()
    assert (await node.expect(Assign)).task == other
    await world.cancel(other)


@pytest.mark.parametrize(
    ("fields", "low", "high"),
    [
        ({"timeout": 30}, 30, 30),
        ({"timeout": 30, "deadline": 3600}, 30, 30),
        ({"timeout": 3600, "deadline": 60}, 1, 60),
        ({"deadline": 60}, 1, 60),
    ],
)
async def test_a_node_is_told_the_nearer_limit(
    world: World, fields: dict[str, float], low: float, high: float
) -> None:
    """An attempt may run for its time-out, but not past the deadline."""
    node = await world.node()
    left: Any = {"deadline": in_(fields["deadline"])} if "deadline" in fields else {}
    task = await world.submit(**{**fields, **left})
    order = await node.expect(Assign)
    assert order.timeout_s is not None
    assert low <= order.timeout_s <= high
    await world.cancel(task)


async def test_a_time_out_at_the_deadline_is_final(world: World) -> None:
    """A run that its node stopped because the deadline came is not tried again, whatever attempts remain."""
    node = await world.node()
    task = await world.submit(deadline=FAR, max_attempts=9)
    order = await node.expect(Assign)
    # Only this gateway's memory knows that it is late, so that no round fails the task before the node reports.
    (connection,) = world.gateway._dispatcher.connections.values()
    connection.running[task].deadline = LONG_AGO
    late = Failure("timeout", "the run took longer than 0.5 s")
    await node.say(Error(order.task, order.attempt, 1, late, retryable=True))
    await node.expect(Committed)
    row = await world.reaches(task, "failed")
    assert (code(row), row["dead_letter"]) == ("deadline_exceeded", False)


async def test_no_retry_begins_after_the_deadline(world: World) -> None:
    """A retry whose backoff would end after the deadline is not waited for: the task fails at once, and says why."""
    world.gateway.gate._settlements._policy = RetryPolicy(base=1000.0, longest=1000.0)
    node = await world.node()
    task = await world.submit(deadline=in_(300), max_attempts=9)
    await node.fail(await node.expect(Assign))
    await node.expect(Committed)
    row = await world.reaches(task, "failed")
    error = json.loads(row["error"])
    assert error["code"] == "deadline_exceeded"
    assert "boom" in error["message"]
    assert (row["errors"], row["dead_letter"]) == (1, False)


async def test_deadlines_survive_a_reattach(world: World) -> None:
    """R3: a gateway that takes over a running attempt knows its deadline."""
    node = await world.node()
    task = await world.submit(deadline=FAR)
    order = await node.expect(Assign)
    await node.disconnect()
    world.gateway._dispatcher.connections.clear()
    await node.attach(running=[(order.task, order.attempt, 1)])
    (connection,) = world.gateway._dispatcher.connections.values()
    assert connection.running[task].deadline == FAR
    await world.cancel(task)
