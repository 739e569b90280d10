"""Nodes that die, hang or fall silent, and gateways that sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from neurogrid.dispatch.connection import CLOSE_SESSION_LOST
from neurogrid.protocol.messages import Assign, Committed, Heartbeat, Refused, Release
from neurogrid.queue.ops import Requeue, SessionRef
from neurogrid.queue.policy import Charge, Status
from tests.support.queue import insertion
from tests.support.scripted import ScriptedNode, World, world_of
from tests.support.until import until

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def hasty(database_url: str) -> AsyncIterator[World]:
    """A gateway that gives its nodes two seconds."""
    async with world_of(database_url, lease=2.0) as opened:
        yield opened


async def die(node: ScriptedNode) -> None:
    """Leave without a word."""
    node.beating = False
    await node.disconnect()


async def serve_one(node: ScriptedNode, attempt: int) -> None:
    """Take the next task, which must be the given attempt, and finish it."""
    order = await node.expect(Assign)
    assert order.attempt == attempt
    await node.finish(order)
    await node.expect(Committed)


async def test_a_lost_nodes_tasks_run_again(hasty: World) -> None:
    """R2, R4: when a session's lease ends, its tasks run elsewhere, with a loss; the lost node's word is stale."""
    lost = await hasty.node("lost", slots=2)
    tasks = [await hasty.submit() for _ in range(2)]
    heard = await hasty.follow(tasks[0])
    orders = [await lost.expect(Assign) for _ in tasks]
    await die(lost)
    safe = await hasty.node("safe", slots=2)
    for _ in tasks:
        await serve_one(safe, 2)
    for task in tasks:
        row = await hasty.reaches(task, "completed")
        assert (row["attempt"], row["losses"], row["errors"], row["node"]) == (2, 1, 0, "safe")
        assert (await hasty.truth.events(task))[2].data == {"status": "queued", "reason": "node_lost"}
    await until(lambda: heard.events and heard.events[-1].final)
    assert [id for id in heard.ids if id >= "2"] == ["2-0", "2-1", "2-2"]
    old = lost.session
    await lost.attach(running=[(orders[1].task, 1, 1)])
    assert lost.session != old
    assert (await lost.expect(Release)).task == orders[1].task
    await lost.finish(orders[0], output="too late")
    assert (await lost.expect(Refused)).task == orders[0].task
    assert (await hasty.truth.task(orders[0].task))["output"] == '"ok"'


async def test_nobody_is_judged_without_a_lease_of_contact(world: World) -> None:
    """R4: a gateway new to the database, or back from an outage, leaves expired sessions alone for one lease."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    node.beating = False
    watch = world.gateway._watch
    session = SessionRef(node.session or "", 1, "node")
    for _ in range(3):
        await world.truth.expire(session)
        await watch.sweep()
    assert (await world.truth.task(task))["attempt"] == 1
    watch._contact._since -= 1000  # a long time passes in contact
    await world.truth.expire(session)
    await watch.sweep()
    await world.reaches(task, "queued", attempt=2)
    assert session.id not in await world.truth.sessions()
    node.beating = True
    assert (await node.hung_up()).code == CLOSE_SESSION_LOST
    await node.attach(running=[(task, 1, 1)])
    await node.finish(order)
    await node.expect(Refused)
    await serve_one(node, 2)


async def test_a_gateway_back_from_an_outage_lets_others_renew(world: World) -> None:
    """R4: an answer that took as long as an outage is no ground to judge by."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    watch = world.gateway._watch
    expired = world.gateway._upkeep.expired

    async def slow(**options: bool) -> object:
        answer = await expired(**options)
        watch._contact._at -= 1000  # the database was away meanwhile
        return answer

    world.gateway._upkeep.expired = slow  # type: ignore[method-assign, assignment]
    node.beating = False
    await world.truth.expire(SessionRef(node.session or "", 1, "node"))
    watch._contact._since -= 1000
    await watch.sweep()
    assert (await world.truth.task(task))["attempt"] == 1
    world.gateway._upkeep.expired = expired  # type: ignore[method-assign]
    node.beating = True
    await node.finish(order)
    await node.expect(Committed)


async def test_a_lost_session_is_told(hasty: World) -> None:
    """R2, R4: a node whose session is gone learns it from its next heartbeat; its tasks are orphans and run again."""
    node = await hasty.node()
    task = await hasty.submit()
    order = await node.expect(Assign)
    assert node.session is not None
    await hasty.truth.forget(SessionRef(node.session, 1, "node"))
    assert (await node.hung_up()).code == CLOSE_SESSION_LOST
    await node.attach(running=[(task, 1, 1)])
    assert (await node.expect(Release)).task == order.task
    await serve_one(node, 2)
    assert (await hasty.truth.task(task))["losses"] == 1


async def test_a_hung_model_loses_its_task(world: World) -> None:
    """R5: a task without a sign of life for the model's `max_silence` is taken from a node that lives."""
    node = await world.node(max_silence=1.0)
    task = await world.submit()
    order = await node.expect(Assign)
    release = await node.expect(Release)
    assert (release.task, release.attempt) == (task, 1)
    await node.finish(order)
    await node.expect(Refused)
    await serve_one(node, 2)
    row = await world.truth.task(task)
    assert (row["losses"], row["errors"]) == (1, 0)
    assert (await world.truth.events(task))[2].data == {"status": "queued", "reason": "silent"}


async def test_signs_of_life_keep_the_task(world: World) -> None:
    """R5: progress told by a heartbeat, or an event, is a sign of life."""
    node = await world.node(max_silence=1.0)
    task = await world.submit()
    order = await node.expect(Assign)
    began = time.monotonic()
    seq = 2
    while time.monotonic() - began < 2.5:
        await node.say(Heartbeat(progress=[(task, 1, 1)]))
        await asyncio.sleep(0.1)
    while time.monotonic() - began < 4:
        await node.chunk(order, seq)
        seq += 1
        await asyncio.sleep(0.1)
    await node.finish(order, seq=seq - 1)
    assert (await node.verdict()).task == task
    assert (await world.truth.task(task))["attempt"] == 1


async def test_a_gateway_that_slept_blames_nobody(world: World) -> None:
    """R5, R7: after its own sleep a gateway reads first what its nodes said meanwhile."""
    node = await world.node(max_silence=30.0)
    task = await world.submit()
    order = await node.expect(Assign)
    (connection,) = world.gateway._dispatcher.connections.values()
    watch = world.gateway._watch
    watch._listened_at -= 1000
    connection.heard_at -= 1000
    connection.running[task].sign_at -= 1000
    await watch.silence()
    assert connection.connected
    assert (await world.truth.task(task))["attempt"] == 1
    await node.finish(order)
    await node.expect(Committed)


async def test_a_silent_node_gets_nothing_more(hasty: World) -> None:
    """R2: a node that is connected but silent for a lease is hung up on, and what it had runs elsewhere."""
    silent = await hasty.node("silent", slots=9)
    task = await hasty.submit()
    await silent.expect(Assign)
    silent.beating = False
    assert (await silent.hung_up()).code == CLOSE_SESSION_LOST
    safe = await hasty.node("safe")
    await serve_one(safe, 2)
    other = await hasty.submit()
    await serve_one(safe, 1)
    assert (await hasty.truth.task(task))["losses"] == 1
    assert (await hasty.truth.task(other))["node"] == "safe"


async def test_what_moved_on_is_released(world: World) -> None:
    """R7: a task that left its session by another hand, with no word of it, is stopped on the node."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    op = Requeue(task, 1, Status.WAITING, Charge.NONE, "elsewhere", delay=600)
    assert await world.truth.one(op) is not None
    release = await node.expect(Release)
    assert (release.task, release.attempt) == (task, 1)
    await until(world.slots_are_free)
    await node.finish(order)
    await node.expect(Refused)


async def test_what_nobody_knows_is_handed_back(world: World) -> None:
    """R7: a task that runs under a session whose gateway knows nothing of it goes back, uncharged."""
    node = await world.node()
    (connection,) = world.gateway._dispatcher.connections.values()
    op = insertion(lane="m", model="m", session=connection.session)
    assert (await world.truth.one(op)).status is Status.RUNNING
    await serve_one(node, 2)
    row = await world.truth.task(op.id)
    assert (row["losses"], row["errors"]) == (0, 0)
    assert (await world.truth.events(op.id))[2].data == {"status": "queued", "reason": "handed_back"}


async def test_who_does_not_come_back_is_forgotten(hasty: World) -> None:
    """R3: a closed connection is kept for a lease, in case its node attaches anew, and no longer."""
    node = await hasty.node()
    await die(node)
    await until(lambda: not hasty.gateway._dispatcher.connections, what="the connection is forgotten")
