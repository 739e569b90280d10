"""A cancel really stops: wherever the task stands, and whichever gateway is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from neurogrid.core.errors import Conflict
from neurogrid.protocol.events import EventType
from neurogrid.protocol.messages import Assign, Cancel, Committed
from neurogrid.queue.policy import RetryPolicy
from tests.support.scripted import World
from tests.support.truth import LONG_AGO
from tests.support.until import until

pytestmark = pytest.mark.asyncio

FINALS = {"task.completed", "task.failed", "task.canceled"}


async def finals(world: World, task: str) -> list[str]:
    """Return the final events of a task."""
    return [kind for _, kind in await world.truth.history(task) if kind in FINALS]


async def test_a_queued_task_is_cancelled_at_once(world: World) -> None:
    """A cancelled task that waits for a slot is over at once, unbilled, and never runs."""
    node = await world.node(slots=1)
    blocker, task = await world.submit(), await world.submit()
    await world.cancel(task)
    row = await world.truth.task(task)
    assert (row["status"], row["completion_tokens"], row["compute_seconds"]) == ("canceled", 0, 0)
    order = await node.expect(Assign)
    assert order.task == blocker
    await node.finish(order)
    other = await world.submit()
    assert (await node.expect(Assign)).task == other
    await world.cancel(other)
    assert await finals(world, task) == ["task.canceled"]


async def test_a_task_in_backoff_is_cancelled(world: World) -> None:
    """R1: a cancel during a backoff is final; when the backoff would have ended nothing happens."""
    world.gateway.gate._settlements._policy = RetryPolicy(base=1000.0, longest=1000.0)
    node = await world.node()
    task = await world.submit(max_attempts=9)
    heard = await world.follow(task)
    await node.fail(await node.expect(Assign))
    await world.reaches(task, "waiting")
    await world.cancel(task)
    await world.truth.alter(task, run_at=LONG_AGO)
    assert await world.truth.upkeep.promote() == []
    row = await world.truth.task(task)
    assert (row["status"], row["attempt"], row["wait_reason"]) == ("canceled", 3, None)
    await until(lambda: heard.events and heard.events[-1].type is EventType.CANCELED)
    assert heard.ids[-1] == "3-0"
    assert await finals(world, task) == ["task.canceled"]


async def test_what_was_streamed_is_billed(world: World) -> None:
    """R26: a cancelled task bills the chunks that had come and the time it ran, and its owner sees it at once."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    for seq in (2, 3, 4):
        await node.chunk(order, seq)
    (connection,) = world.gateway._dispatcher.connections.values()
    await until(lambda: connection.running[task].chunks == 3)
    await world.cancel(task)
    row = await world.truth.task(task)
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"]) == ("canceled", 0, 3)
    assert row["compute_seconds"] > 0


async def test_any_gateway_cancels(two: World) -> None:
    """A cancel at another gateway than the node's stops the node, frees its slot, and is billed."""
    node = await two.node(slots=1)
    task = await two.submit()
    order = await node.expect(Assign)
    await node.chunk(order, 2)
    (connection,) = two.gateway._dispatcher.connections.values()
    await until(lambda: connection.running[task].chunks == 1)
    await two.cancel(task, two.gateways[1])
    assert (await two.truth.task(task))["status"] == "canceled"
    stop = await node.expect(Cancel)
    assert (stop.task, stop.attempt) == (task, 1)
    await two.reaches(task, "canceled", completion_tokens=1)
    other = await two.submit()
    assert (await node.expect(Assign)).task == other
    await two.cancel(other, two.gateways[1])
    assert await finals(two, task) == ["task.canceled"]


async def test_a_lost_cancel_is_made_up_for(two: World) -> None:
    """R7: where the word of a cancel gets lost between gateways, reconciliation stops and bills the attempt."""
    node = await two.node(slots=1)
    task = await two.submit()
    order = await node.expect(Assign)
    await node.chunk(order, 2)
    (connection,) = two.gateway._dispatcher.connections.values()
    await until(lambda: connection.running[task].chunks == 1)

    async def lose(topic: str, payload: bytes) -> None: ...

    two.gateways[1]._dispatcher._bus.send = lose  # type: ignore[method-assign]
    await two.cancel(task, two.gateways[1])
    await until(lambda: connection.used == 0)
    await two.reaches(task, "canceled", completion_tokens=1)


async def test_cancel_and_error_race(world: World) -> None:
    """Law 3: of a cancel and a final error at the same moment exactly one happens, and the slots are free."""
    node = await world.node(slots=8)
    tasks = [await world.submit() for _ in range(8)]
    orders = [await node.expect(Assign) for _ in tasks]
    await asyncio.gather(
        *(node.fail(order, retryable=index % 2 == 0) for index, order in enumerate(orders)),
        *(_cancel(world, order.task) for order in orders),
    )
    for task in tasks:

        async def over(task: str = task) -> Any:
            row = await world.truth.task(task)
            return row if row["status"] in {"failed", "canceled"} else None

        row = await until(over)
        assert await finals(world, task) == [f"task.{row['status']}"]


async def test_a_result_before_the_cancel_stands(world: World) -> None:
    """A task that completed is not cancelled any more; whoever tries is told so."""
    node = await world.node()
    task = await world.submit()
    await node.finish(await node.expect(Assign))
    await node.expect(Committed)
    with pytest.raises(Conflict):
        await world.cancel(task)
    assert await finals(world, task) == ["task.completed"]


async def _cancel(world: World, task: str) -> None:
    try:
        await world.cancel(task)
    except Conflict:
        return
