"""The database goes away for longer than a lease, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from neurogrid.protocol.messages import Assign, Committed
from tests.support.proxy import Proxy, proxy_to
from tests.support.scripted import World, world_of
from tests.support.until import until

pytestmark = pytest.mark.asyncio

LEASE = 2.0


@pytest_asyncio.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """A way to PostgreSQL that can be closed."""
    async with proxy_to(postgres_url) as running:
        yield running


@pytest_asyncio.fixture
async def world(proxy: Proxy) -> AsyncIterator[World]:
    """A gateway whose database lies behind the proxy."""
    async with world_of(proxy.url, lease=LEASE) as opened:
        yield opened
        proxy.closed = False


async def outage(proxy: Proxy, seconds: float) -> None:
    """Let the database be away for a while, which is over when this returns."""
    proxy.closed = True
    proxy.cut_all()
    await asyncio.sleep(seconds)
    proxy.closed = False


async def test_results_wait_and_nothing_runs_twice(world: World, proxy: Proxy) -> None:
    """R4, R6, R8: tasks run on through an outage longer than their lease; their results, large ones too, are
    written when it ends, and nobody is evicted by the first gateway to come back.
    """
    node = await world.node(slots=4)
    tasks = [await world.submit() for _ in range(3)]
    orders = [await node.expect(Assign) for _ in tasks]
    away = asyncio.ensure_future(outage(proxy, 2 * LEASE))
    await asyncio.sleep(0)
    await node.finish(orders[0], output="small")
    await node.finish(orders[1], output="x" * 400_000)
    await away
    committed = {(await node.expect(Committed)).task for _ in range(2)}
    assert committed == set(tasks[:2])
    await node.finish(orders[2])
    assert (await node.expect(Committed)).task == tasks[2]
    for task in tasks:
        row = await world.reaches(task, "completed")
        assert (row["attempt"], row["losses"]) == (1, 0)
    assert (await world.truth.task(tasks[1]))["output_apart"] is True


async def test_the_grid_serves_again_by_itself(world: World, proxy: Proxy) -> None:
    """R8, R18: claims, renewals and rounds go on after an outage without a restart; slots are not lost to it."""
    node = await world.node(slots=2)
    (connection,) = world.gateway._dispatcher.connections.values()
    world.gateway._dispatcher.arrived("m")
    away = asyncio.ensure_future(outage(proxy, 1.5 * LEASE))
    for _ in range(5):
        world.gateway._dispatcher.arrived("m")
        await asyncio.sleep(0.1)
    await away
    await until(lambda: world.gateway._journal.connected)
    await until(lambda: connection.used == 0)
    for _ in range(3):
        task = await world.submit()
        order = await node.expect(Assign)
        assert order.task == task
        await node.finish(order)
        await node.expect(Committed)


async def test_a_late_assignment_is_checked(world: World, proxy: Proxy) -> None:
    """R7: an assignment that waited for the database is sent only if the task is still the node's."""
    node = await world.node(slots=1)
    dispatcher = world.gateway._dispatcher
    first = await world.submit()
    order = await node.expect(Assign)
    waiting = await world.submit()
    away = asyncio.ensure_future(outage(proxy, LEASE))
    await asyncio.sleep(0)
    dispatcher.arrived("m")
    await node.finish(order)
    await away
    assert (await node.expect(Committed)).task == first
    late = await node.expect(Assign)
    assert (late.task, late.attempt) == (waiting, 1)
    await node.finish(late)
    await node.expect(Committed)
