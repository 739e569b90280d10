"""Nodes that leave and come back: nothing runs twice, nothing is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from neurogrid.dispatch.connection import (
    CLOSE_REPLACED,
    CLOSE_RESTART,
    CLOSE_SESSION_LOST,
)
from neurogrid.protocol.frames import encode, pack
from neurogrid.protocol.link import CLOSE_PROTOCOL, LinkClosed, in_process_links
from neurogrid.protocol.messages import (
    FIRST_NODE_SEQ,
    Assign,
    Committed,
    Drained,
    Heartbeat,
    Hello,
    Refused,
    Release,
    Resend,
)
from tests.support.scripted import ScriptedNode, World, result
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def test_the_task_goes_on(world: World) -> None:
    """R3: a node that comes back within its lease goes on with its attempt, and the events without a gap."""
    node = await world.node()
    task = await world.submit()
    heard = await world.follow(task)
    order = await node.expect(Assign)
    for seq in (2, 3):
        await node.chunk(order, seq)
    await until(lambda: "1-3" in heard.ids)
    session = node.session
    await node.disconnect()
    await node.attach(running=[(task, 1, 5)])
    assert node.session == session
    assert (await node.expect(Resend)).from_seq == 4
    for seq in (6, 4, 5, 6):
        await node.chunk(order, seq)
    await node.finish(order, seq=6)
    await node.expect(Committed)
    await until(lambda: heard.events and heard.events[-1].final)
    assert [id for id in heard.ids if id >= "1-2"] == ["1-2", "1-3", "1-4", "1-5", "1-6", "1-7"]
    assert (await world.truth.task(task))["attempt"] == 1


async def test_nothing_is_asked_for_that_is_known(world: World) -> None:
    """R3: what the gateway has seen already is not sent again."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    heard = await world.follow(task)
    await node.chunk(order, 2)
    await until(lambda: "1-2" in heard.ids)
    await node.disconnect()
    await node.attach(running=[(task, 1, 2)])
    await node.chunk(order, 3)
    await node.finish(order, seq=3)
    await node.expect(Committed)
    assert not [message for message in node._later if isinstance(message, Resend)]


async def test_a_result_held_meanwhile_is_taken(world: World) -> None:
    """R6: a result nobody acknowledged is presented with the next hello and committed once."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await node.disconnect()
    await node.attach(done=[result(order, output="late")])
    assert (await node.expect(Committed)).task == task
    await node.disconnect()
    await node.attach(done=[result(order, output="later")])
    assert (await node.expect(Refused)).task == task
    assert (await world.truth.task(task))["output"] == '"late"'


async def test_a_result_cut_off_before_its_answer(world: World) -> None:
    """R6: a result that was taken while the connection broke is refused when it comes again, and stands."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await node.finish(order, output="first")
    await node.disconnect()
    await node.attach(done=[result(order, output="first")])
    answer = await node.verdict()
    assert answer.task == task
    row = await world.reaches(task, "completed")
    assert (row["attempt"], row["output"]) == (1, '"first"')
    assert len(await world.truth.events(task)) == 3


async def test_a_task_the_node_never_got_is_handed_back(world: World) -> None:
    """R7: an assignment lost with the connection leads to the next attempt, uncharged, when the node is back."""
    node = await world.node()
    task = await world.submit()
    await node.expect(Assign)
    await node.disconnect()
    await node.attach()
    again = await node.expect(Assign)
    assert (again.task, again.attempt) == (task, 2)
    await node.finish(again)
    await node.expect(Committed)
    row = await world.truth.task(task)
    assert (row["errors"], row["losses"]) == (0, 0)


async def test_what_is_no_longer_the_nodes_is_released(world: World) -> None:
    """R3: a node that comes back with a task that moved on is told to stop it."""
    node = await world.node()
    task = await world.submit()
    await node.expect(Assign)
    await node.disconnect()
    await world.cancel(task)
    await node.attach(running=[(task, 1, 1), ("0" * 36, 7, 1)])
    released = {(await node.expect(Release)).task for _ in range(2)}
    assert released == {task, "0" * 36}


async def test_a_disconnect_requeues_nothing(world: World) -> None:
    """R3: while its lease lasts, the tasks of a node that left stay its own."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await node.disconnect()
    (connection,) = world.gateway._dispatcher.connections.values()
    await until(lambda: not connection.connected)
    for _ in range(3):
        await world.gateway._watch.reconcile()
        await world.gateway._watch.sweep()
    assert (await world.truth.task(task))["attempt"] == 1
    other = await world.submit()
    assert (await world.truth.task(other))["status"] == "queued"
    await node.attach(running=[(task, 1, 1)])
    second = await node.expect(Assign)
    assert (second.task, second.attempt) == (other, 1)
    for one in (order, second):
        await node.finish(one)
        await node.expect(Committed)


async def test_two_connections_of_one_session(world: World) -> None:
    """R3: a node that attaches twice at once is served over the later connection; the earlier is closed."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    both = [ScriptedNode(world, session=node.session) for _ in range(2)]
    await asyncio.gather(*(one.attach(running=[(task, 1, 1)]) for one in both))
    # A heartbeat may notice first.
    assert (await node.hung_up()).code in {CLOSE_REPLACED, CLOSE_SESSION_LOST}
    await until(lambda: sum(one.connected for one in both) == 1)
    (current,) = [one for one in both if one.connected]
    (connection,) = world.gateway._dispatcher.connections.values()
    assert (connection.session.gen, connection.connected, connection.used) == (3, True, 1)
    await current.finish(order)
    await current.expect(Committed)
    other = await world.submit()
    second = await current.expect(Assign)
    assert second.task == other
    await current.finish(second)
    await current.expect(Committed)


async def test_a_drained_node_gets_nothing(world: World) -> None:
    """A node that says it has drained gets no more tasks."""
    node = await world.node()
    await node.say(Drained())
    (connection,) = world.gateway._dispatcher.connections.values()
    await until(lambda: not connection.accepting)
    task = await world.submit()
    assert (await world.truth.task(task))["status"] == "queued"
    other = await world.node("other")
    order = await other.expect(Assign)
    await other.finish(order)
    await other.expect(Committed)


@pytest.mark.parametrize("frame", [b"not json", b'{"type":"result"}', b'{"type":"heartbeat"}'])
async def test_who_does_not_speak_the_protocol_is_hung_up_on(world: World, frame: bytes) -> None:
    """A connection begins with a hello and holds messages of the protocol; all else closes it."""
    ours, theirs = in_process_links()
    await ours.send(frame)
    await world.gateway.gate.serve(theirs)
    with pytest.raises(LinkClosed) as closed:
        await ours.receive()
    assert closed.value.code == CLOSE_PROTOCOL
    node = await world.node()
    await node.say(Heartbeat())
    await node.say(Hello(name="node", version="1", models=[], slots=1))
    assert (await node.hung_up()).code == CLOSE_PROTOCOL


async def test_several_messages_in_a_frame(world: World) -> None:
    """Results that come together are settled together; an array with something unreadable closes the connection."""
    node = await world.node(slots=3)
    tasks = [await world.submit() for _ in range(3)]
    orders = [await node.expect(Assign) for _ in tasks]
    assert node._link is not None
    (frame,) = pack(encode(result(order)) for order in orders)
    await node._link.send(frame)
    assert {(await node.expect(Committed)).task for _ in tasks} == set(tasks)
    await node._link.send(
        b'[{"type":"heartbeat"},{"type":"result","task":"t","attempt":1,"seq":1,"output":NaN}]'
    )
    assert (await node.hung_up()).code == CLOSE_PROTOCOL


async def test_orders_travel_together(world: World) -> None:
    """A node that reads arrays gets the tasks that are claimed at once in one frame."""
    node = await world.node(slots=3, arrays=True)
    await node.disconnect()
    (connection,) = world.gateway._dispatcher.connections.values()
    await until(lambda: not connection.connected)
    tasks = [await world.submit() for _ in range(3)]
    await node.attach()
    orders = [await node.expect(Assign) for _ in tasks]
    assert {order.task for order in orders} == set(tasks)
    assert node.longest > 1
    for order in orders:
        await node.finish(order)


async def test_unknown_messages_are_ignored(world: World) -> None:
    """R30: a newer node may say what this release does not know."""
    node = await world.node()
    assert node._link is not None
    await node._link.send(b'{"type":"news","from":"the future"}')
    await world.submit()
    order = await node.expect(Assign)
    await node.finish(order)
    await node.expect(Committed)


async def test_a_gateway_that_stops_sends_its_nodes_elsewhere(world: World) -> None:
    """A restart closes node connections with 1012; what they run stays theirs."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await world.gateway.gate.close()
    assert (await node.hung_up()).code == CLOSE_RESTART
    await node.attach(running=[(task, 1, FIRST_NODE_SEQ - 1)])
    await node.finish(order)
    await node.expect(Committed)
    assert (await world.truth.task(task))["attempt"] == 1
