"""Several gateways over one database and one Redis."""

from __future__ import annotations

import pytest

from neurogrid.protocol.messages import Assign, Cancel, Committed, Refused, Release, Resend
from neurogrid.queue import ops
from neurogrid.queue.ops import Requeue
from neurogrid.queue.policy import Charge, Status
from tests.support.scripted import World, result
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def test_work_comes_from_any_gateway(two: World) -> None:
    """R18: a task submitted where no node is reaches a node of another gateway."""
    here, there = two.gateways
    node = await two.node(gateway=here)
    await there.nodes.refresh()
    for _ in range(3):
        task = await two.submit(there)
        order = await node.expect(Assign)
        assert (order.task, order.attempt) == (task, 1)
        await node.finish(order)
        await node.expect(Committed)


async def test_a_cancel_reaches_the_node_of_another_gateway(two: World) -> None:
    """R1, R7: whoever cancels, the gateway that runs the task stops it."""
    here, there = two.gateways
    node = await two.node(gateway=here)
    task = await two.submit(here)
    await node.expect(Assign)
    await two.cancel(task, there)
    assert (await node.expect(Cancel)).task == task
    assert (await two.truth.task(task))["status"] == "canceled"


async def test_a_lost_cancel_is_found(two: World) -> None:
    """R7: a cancel whose message got lost is found by comparing memory with the database."""
    node = await two.node()
    task = await two.submit()
    await node.expect(Assign)
    assert await two.truth.one(ops.Cancel(task)) is not None
    assert (await node.expect(Release)).task == task


async def test_the_task_goes_on_at_another_gateway(two: World) -> None:
    """R3: a node that moves to another gateway goes on with its attempt; followers anywhere miss nothing."""
    here, there = two.gateways
    node = await two.node(gateway=here)
    task = await two.submit(here)
    followers = [await two.follow(task, gateway) for gateway in (here, there)]
    order = await node.expect(Assign)
    for seq in (2, 3):
        await node.chunk(order, seq)
    await until(lambda: all("1-3" in heard.ids for heard in followers))
    session = node.session
    await node.disconnect()
    await node.attach(there, running=[(task, 1, 3)])
    assert node.session == session
    assert (await node.expect(Resend)).from_seq == 2
    for seq in range(2, 7):
        await node.chunk(order, seq)
    await node.finish(order, seq=6)
    await node.expect(Committed)
    for heard in followers:
        await until(lambda heard=heard: heard.events and heard.events[-1].final)  # type: ignore[misc]
        ids = [event.id for event in heard.events if event.id >= (1, 2)]
        assert sorted(set(ids)) == [(1, seq) for seq in range(2, 8)]
        fresh = [id for index, id in enumerate(ids) if id not in ids[:index]]
        assert fresh == sorted(fresh)
    row = await two.truth.task(task)
    assert (row["attempt"], row["status"]) == (1, "completed")


async def test_the_gateway_left_behind_harms_nothing(two: World) -> None:
    """R3: the old gateway's belief about a node that moved cannot renew, requeue or keep anything."""
    here, there = two.gateways
    node = await two.node(gateway=here)
    task = await two.submit(here)
    order = await node.expect(Assign)
    (before,) = here._dispatcher.connections.values()
    await node.attach(there, running=[(task, 1, 1)])  # the former link stays half open
    stale = before.session
    await here._dispatcher.hand_back(task, 1, stale)
    assert (await two.truth.task(task))["attempt"] == 1
    await until(lambda: not before.connected, what="the old gateway learnt that the session moved")
    await node.finish(order)
    await node.expect(Committed)


async def test_a_result_is_taken_by_any_gateway(two: World) -> None:
    """R3, R6: results need no session: presented as `done` elsewhere they are committed, once."""
    here, there = two.gateways
    node = await two.node(gateway=here)
    task = await two.submit(here)
    order = await node.expect(Assign)
    await node.disconnect()
    node.session = None
    await node.attach(there, done=[result(order)])
    assert (await node.expect(Committed)).task == task
    await node.disconnect()
    await node.attach(here, done=[result(order)])
    assert (await node.expect(Refused)).task == task
    assert [id for id, _ in await two.truth.history(task)] == ["0-1", "1-1", "1-2"]


async def test_a_stale_result_is_refused_everywhere(two: World) -> None:
    """Law 3: a result of an attempt that is over is refused, whichever gateway hears it."""
    here, there = two.gateways
    node = await two.node(gateway=here)
    task = await two.submit(here)
    order = await node.expect(Assign)
    await node.disconnect()
    op = Requeue(task, 1, Status.WAITING, Charge.LOSS, "node_lost", delay=600)
    assert await two.truth.one(op) is not None
    await node.attach(there, done=[result(order)])
    assert (await node.expect(Refused)).task == task
    row = await two.truth.task(task)
    assert (row["status"], row["attempt"], row["output"]) == ("waiting", 2, None)


async def test_gateways_share_the_queue(two: World) -> None:
    """R15: nodes on different gateways serve one queue; no task runs on two of them."""
    nodes = [await two.node(f"node-{i}", gateway, slots=2) for i, gateway in enumerate(two.gateways)]
    await two.gateway.nodes.refresh()
    tasks = [await two.submit(two.gateways[i % 2]) for i in range(16)]
    ran: list[str] = []

    async def serve(index: int) -> None:
        while len(ran) < len(tasks):
            order = await nodes[index].expect(Assign)
            ran.append(order.task)
            await nodes[index].finish(order)

    workers = [two.background.spawn(serve(index), "serve") for index in range(2)]
    await until(lambda: len(ran) == len(tasks))
    assert sorted(ran) == sorted(tasks)
    for task in tasks:
        await two.reaches(task, "completed", attempt=1)
    for worker in workers:
        worker.cancel()
