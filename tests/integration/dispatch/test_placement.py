"""Which node gets a task, and how the gateway comes to know of it."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from neurogrid.protocol.messages import Assign, Committed
from neurogrid.queue.ops import Insert
from neurogrid.queue.upkeep import LaneInfo
from tests.support.queue import insertion
from tests.support.scripted import ScriptedNode, World
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def serve(node: ScriptedNode, tasks: int) -> list[str]:
    """Finish so many tasks, one after the other; return their ids in the order of assignment."""
    done = []
    for _ in range(tasks):
        order = await node.expect(Assign)
        done.append(order.task)
        await node.finish(order)
        await node.expect(Committed)
    return done


async def test_a_node_gets_no_more_than_its_slots(world: World) -> None:
    """Tasks beyond the slots wait in the queue, and each freed slot takes the oldest."""
    node = await world.node(slots=2)
    tasks = [await world.submit() for _ in range(6)]
    first, second = await node.expect(Assign), await node.expect(Assign)
    assert [first.task, second.task] == tasks[:2]
    (connection,) = world.gateway._dispatcher.connections.values()
    assert connection.used == 2
    assert [(await world.truth.task(task))["status"] for task in tasks[2:]] == ["queued"] * 4
    await node.finish(first)
    assert (await node.expect(Assign)).task == tasks[2]
    for task in (tasks[1], tasks[2]):
        await node.finish(Assign(task, 1, "m", first.input, first.parameters))
    assert await serve(node, 3) == tasks[3:]


async def test_priority_is_served_first(world: World) -> None:
    """R15: of what waits, the higher class goes first."""
    node = await world.node(slots=1)
    blocker = await world.submit()
    order = await node.expect(Assign)
    low, normal, high = [await world.submit(priority=name) for name in ("low", "normal", "high")]
    await node.finish(order)
    assert order.task == blocker
    assert await serve(node, 3) == [high, normal, low]


async def test_labels_decide(world: World) -> None:
    """R15: tasks that require labels go only to nodes that have them, whichever comes first."""
    plain = await world.node("plain", slots=4)
    needy = await world.submit(requires={"gpu": "yes"})
    anywhere = await world.submit()
    order = await plain.expect(Assign)
    assert order.task == anywhere
    await plain.finish(order)
    await plain.expect(Committed)
    assert (await world.truth.task(needy))["status"] == "queued"
    able = await world.node("able", labels={"gpu": "yes", "zone": "a"})
    assert await serve(able, 1) == [needy]
    assert (await world.truth.task(needy))["node"] == "able"


async def test_fast_path_heeds_labels(world: World) -> None:
    """R15, R17: a task that requires labels takes the fast path to a node that has them, or none."""
    await world.node("plain")
    able = await world.node("able", labels={"gpu": "yes"})
    task = await world.submit(requires={"gpu": "yes"})
    assert (await world.truth.task(task))["status"] == "running"
    assert await serve(able, 1) == [task]


async def test_models_are_kept_apart(world: World) -> None:
    """A node gets only tasks for models it serves."""
    one, other = await world.node("one", models=["a"]), await world.node("other", models=["b"])
    tasks = {model: await world.submit(model=model) for model in ("b", "a")}
    assert await serve(one, 1) == [tasks["a"]]
    assert await serve(other, 1) == [tasks["b"]]


async def test_work_is_shared(world: World) -> None:
    """Tasks go to the node with the smaller share of its slots in use."""
    nodes = [await world.node(f"node-{i}", slots=4) for i in range(2)]
    for _ in range(6):
        await world.submit()
    for node in nodes:
        await serve(node, 3)


async def test_polls_find_what_nobody_announced(world: World) -> None:
    """R18: wake-ups are hints; a task of which no word came is found by the next poll."""
    node = await world.node()
    op = insertion(lane="m", model="m")
    await world.truth.one(op)
    assert await serve(node, 1) == [op.id]


async def test_polls_find_lanes_nobody_announced(world: World) -> None:
    """R15, R18: the same in a lane that another gateway made: what it requires is read from the table."""
    plain, able = await world.node("plain"), await world.node("able", labels={"gpu": "yes"})
    await world.truth.upkeep.know_lane(LaneInfo("m#x", "m", '{"gpu":"yes"}'))
    op = insertion(lane="m#x", model="m")
    await world.truth.one(op)
    assert await serve(able, 1) == [op.id]
    assert plain.session is not None


async def test_a_crowd_is_served_whole(world: World) -> None:
    """R15, R17: many submissions at once over few slots: each runs once, and none is forgotten."""
    nodes = [await world.node(f"node-{i}", slots=3) for i in range(2)]
    submitting = asyncio.gather(
        *(world.submit(requires={"zone": "a"} if i % 4 == 0 else {}) for i in range(60))
    )
    zoned = await world.node("zoned", slots=2, labels={"zone": "a"})
    ran: list[str] = []

    async def work(node: ScriptedNode) -> None:
        while True:
            order = await node.expect(Assign)
            ran.append(order.task)
            await node.finish(order)

    workers = [asyncio.ensure_future(work(node)) for node in (*nodes, zoned)]
    tasks = await submitting
    await until(lambda: len(ran) >= 60)
    await until(world.slots_are_free)
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    assert sorted(ran) == sorted(tasks)
    for task in tasks:
        assert (await world.truth.task(task))["attempt"] == 1


async def test_an_abandoned_submission_is_not_lost(world: World) -> None:
    """R7, R17: a fast-path row whose caller left during the commit is handed back, and runs."""
    node = await world.node()
    dispatcher = world.gateway._dispatcher
    await world.submit()
    (first,) = [await node.expect(Assign)]
    await node.finish(first)
    await node.expect(Committed)
    op: Insert = insertion(lane="m", model="m", session=dispatcher.reserve("m"))
    await world.truth.one(op)
    dispatcher.inserted(replace(op), None)
    order = await node.expect(Assign)
    assert (order.task, order.attempt) == (op.id, 2)
    await node.finish(order)
    await node.expect(Committed)
    row = await world.truth.task(op.id)
    assert (row["errors"], row["losses"]) == (0, 0)
