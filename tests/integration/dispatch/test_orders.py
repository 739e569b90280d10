"""What operators say of nodes is obeyed by every gateway, and costs no task anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from neurogrid.core.errors import GridError
from neurogrid.dispatch import orders
from neurogrid.dispatch.connection import (
    CLOSE_FORBIDDEN,
    NodeConnection,
)
from neurogrid.gateway import Gateway
from neurogrid.nodes.policy import NodeState
from neurogrid.nodes.schemas import NodeView
from neurogrid.protocol.link import LinkClosed
from neurogrid.protocol.messages import Assign, Drain, Drained, Refuse
from tests.support.scripted import ScriptedNode, World, world_of
from tests.support.until import until

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=["redis", "deaf"])
async def pair(request: pytest.FixtureRequest, postgres_url: str, redis_url: str) -> AsyncIterator[World]:
    """Two gateways on PostgreSQL; ``deaf`` ones share nothing else, as when Redis is away."""
    bus = redis_url if request.param == "redis" else None
    async with world_of(postgres_url, bus, gateways=2) as opened:
        yield opened


async def seen(world: World, name: str = "node", gateway: Gateway | None = None) -> NodeView:
    """Return a node as operators see it."""
    (found,) = [node for node in await (gateway or world.gateway).nodes.overview() if node.name == name]
    return found


async def id_of(world: World, name: str = "node") -> str:
    return (await seen(world, name)).id


def connection_of(world: World, name: str = "node") -> NodeConnection:
    """Return the current connection of a node, at whichever gateway."""
    found = [
        connection
        for gateway in world.gateways
        for connection in gateway._dispatcher.connections.values()
        if connection.name == name and connection.connected
    ]
    return found[-1]


async def state_is(world: World, state: NodeState, name: str = "node") -> None:
    async def there() -> bool:
        return (await seen(world, name)).state is state

    await until(there, what=f"{name} is {state}")


async def given(world: World, node: ScriptedNode) -> Assign:
    """Submit a task that ``node`` gets, and return its assignment."""
    task = await world.submit()
    order = await node.expect(Assign)
    assert order.task == task
    return order


async def runs_again(world: World, task: str, node: ScriptedNode, reason: str) -> None:
    """Let ``node`` finish a task that another one had: as its second attempt, with nothing charged."""
    order = await node.expect(Assign)
    assert (order.task, order.attempt) == (task, 2)
    await node.complete(order)
    row = await world.truth.task(task)
    assert (row["status"], row["attempt"], row["errors"], row["losses"]) == ("completed", 2, 0, 0)
    (retrying,) = [event for event in await world.truth.events(task) if event.type == "task.retrying"]
    assert retrying.data == {"status": "queued", "reason": reason}


async def cordon(world: World, name: str = "node") -> None:
    await world.gateway.nodes.cordon(await id_of(world, name), world.trail)
    await until(lambda: not connection_of(world, name).accepting, what=f"{name} gets nothing new")


# --- cordon -----------------------------------------------------------------------------------


async def test_a_cordoned_node_gets_nothing_new(world: World) -> None:
    """Neither a claim nor the fast path picks a cordoned node; what it has, it finishes; uncordoned, it gets work."""
    node = await world.node()
    first = await given(world, node)
    await cordon(world)
    waiting = [await world.submit() for _ in range(2)]
    await world.gateway._watch.poll()
    assert world.gateway._dispatcher.reserve("m") is None
    await node.complete(first)
    other = await world.node("other", slots=1)
    order = await other.expect(Assign)
    assert order.task == waiting[0]
    assert (await world.truth.task(waiting[1]))["status"] == "queued"
    assert not connection_of(world).running
    await world.gateway.nodes.uncordon(await id_of(world), world.trail)
    again = await node.expect(Assign)
    assert (again.task, again.attempt) == (waiting[1], 1)
    await other.complete(order)
    await node.complete(again)


async def test_orders_can_be_given_twice(world: World) -> None:
    """Each order says what is to be; saying it again, or less than was said, changes nothing."""
    await world.node()
    id = await id_of(world)
    nodes = world.gateway.nodes
    assert (await nodes.uncordon(id, world.trail)).state is NodeState.ACTIVE
    for _ in range(2):
        assert (await nodes.cordon(id, world.trail)).state is NodeState.CORDONED
    first = await nodes.drain(id, 600, world.trail)
    again = await nodes.drain(id, 5, world.trail)
    assert (again.state, again.drain_until) == (NodeState.DRAINING, first.drain_until)
    assert (await nodes.cordon(id, world.trail)).state is NodeState.DRAINING
    back = await nodes.uncordon(id, world.trail)
    assert (back.state, back.drain_until) == (NodeState.ACTIVE, None)


async def test_an_order_outlives_connections_and_gateways(database_url: str) -> None:
    """A cordoned node that says hello again, at a gateway started anew, is still cordoned."""
    async with world_of(database_url) as world:
        node = await world.node()
        await cordon(world)
        await node.disconnect()
        await node.attach()
        assert not connection_of(world).accepting
    async with world_of(database_url) as world:
        await world.node()
        assert not connection_of(world).accepting
        assert (await seen(world)).state is NodeState.CORDONED


async def test_an_order_reaches_every_gateway(pair: World) -> None:
    """An order given at one gateway is obeyed at the other; without Redis too, where only the row tells."""
    world = pair
    node = await world.node(gateway=world.gateways[1])
    await cordon(world)
    task = await world.submit(world.gateways[1])
    assert (await world.truth.task(task))["status"] == "queued"
    await world.gateway.nodes.uncordon(await id_of(world), world.trail)
    await node.complete(await node.expect(Assign))


async def test_an_order_is_obeyed_at_once(postgres_url: str, redis_url: str) -> None:
    """The other gateways hear of an order by a message; they do not wait for their next round."""
    async with world_of(postgres_url, redis_url, gateways=2, reconcile=1000.0, lease=2500.0) as world:
        await until(lambda: all(gateway._bus.healthy for gateway in world.gateways))
        await world.node(gateway=world.gateways[1])
        await cordon(world)


# --- drain ------------------------------------------------------------------------------------


async def test_a_drained_node_hands_back_uncharged(world: World) -> None:
    """R1: a node is told once, with the time that is left; what it hands back runs elsewhere and costs nothing.

    When it has left, it counts as away at once, and is cordoned.
    """
    node = await world.node(slots=2)
    done, kept = [await given(world, node) for _ in range(2)]
    other = await world.node("other")
    await world.gateway.nodes.drain(await id_of(world), 60, world.trail)
    told = await node.expect(Drain)
    assert 50 < told.deadline_s <= 60
    late = await world.submit()
    order = await other.expect(Assign)
    assert order.task == late
    await other.complete(order)
    await node.complete(done)
    await node.say(Refuse(kept.task, kept.attempt, "drained", leaving=True))
    await runs_again(world, kept.task, other, "drained")
    for _ in range(3):
        await world.gateway._orders.round()
    assert not [message for message in node._later if isinstance(message, Drain)]
    assert (await seen(world)).state is NodeState.DRAINING
    await node.say(Drained())
    await node.disconnect()
    await state_is(world, NodeState.CORDONED)
    left = await seen(world)
    assert (left.connected, left.drain_until) == (False, None)


async def test_an_assignment_that_crossed_the_goodbye_comes_back(world: World) -> None:
    """R1: what was sent to a node that was about to close its connection runs elsewhere at once, uncharged."""
    node = await world.node()
    task = await world.submit()
    await node.expect(Assign)
    other = await world.node("other")
    await node.say(Drained())
    await node.disconnect()
    await runs_again(world, task, other, "drained")


async def test_a_new_process_of_a_draining_node_is_cordoned(world: World) -> None:
    """Whoever was to be drained has left; its successor waits until an operator takes it back."""
    node = await world.node()
    await world.gateway.nodes.drain(await id_of(world), 60, world.trail)
    await node.expect(Drain)
    await node.disconnect()
    successor = await world.node()
    assert (await seen(world)).state is NodeState.CORDONED
    assert not connection_of(world).accepting
    await world.gateway.nodes.uncordon(await id_of(world), world.trail)
    await world.submit()
    await successor.complete(await successor.expect(Assign))


async def test_a_draining_node_that_reconnects_goes_on_to_leave(world: World) -> None:
    """A drain is not forgotten over a broken connection: the same process is told again, for the time left."""
    node = await world.node()
    await world.gateway.nodes.drain(await id_of(world), 60, world.trail)
    first = await node.expect(Drain)
    await node.disconnect()
    await node.attach()
    assert not connection_of(world).accepting
    assert (await node.expect(Drain)).deadline_s <= first.deadline_s
    assert (await seen(world)).state is NodeState.DRAINING


async def test_draining_a_node_that_is_away(world: World) -> None:
    """Without a session there is nothing to wait for: the node is cordoned."""
    node = await world.node()
    await node.say(Drained())
    await node.disconnect()

    async def away() -> bool:
        return not (await seen(world)).connected

    await until(away)
    await world.gateway.nodes.drain(await id_of(world), 60, world.trail)
    await state_is(world, NodeState.CORDONED)


async def test_who_does_not_leave_is_made_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that ignores its drain loses tasks and connection after the deadline; nothing is charged."""
    monkeypatch.setattr(orders, "OVERDUE", timedelta(0))
    node = await world.node()
    task = await world.submit()
    await node.expect(Assign)
    other = await world.node("other")
    await world.gateway.nodes.drain(await id_of(world), 0, world.trail)
    assert (await node.hung_up()).code == CLOSE_FORBIDDEN
    await runs_again(world, task, other, "drained")


# --- removal ----------------------------------------------------------------------------------


async def test_a_removed_node_is_gone(world: World) -> None:
    """Its tasks run elsewhere, uncharged, its process is told to end, and what it alone served is unknown.

    Not even a reconnect brings it back; a new process joins as a new node.
    """
    node = await world.node(models=("m", "rare"))
    task = await world.submit()
    await node.expect(Assign)
    other = await world.node("other")
    id = await id_of(world)
    await world.gateway.nodes.remove(id, world.trail)
    closed = await node.hung_up()
    assert (closed.code, "removed" in closed.reason) == (CLOSE_FORBIDDEN, True)
    await runs_again(world, task, other, "node_removed")
    assert [model.id for model in await world.gateway.nodes.models()] == ["m"]
    with pytest.raises(GridError, match="Known models"):
        await world.submit(model="rare")
    with pytest.raises(LinkClosed) as refused:
        await node.attach(running=[(task, 1, 1)])
    assert (refused.value.code, "removed" in refused.value.reason) == (CLOSE_FORBIDDEN, True)
    await world.node()
    assert (await seen(world)).id != id


async def test_a_node_of_another_gateway_is_removed(pair: World) -> None:
    """Whichever gateway is asked, the one that holds the connection closes it."""
    world = pair
    node = await world.node(gateway=world.gateways[1])
    task = await world.submit(world.gateways[1])
    await node.expect(Assign)
    other = await world.node("other")
    await world.gateway.nodes.remove(await id_of(world), world.trail)
    assert (await node.hung_up()).code == CLOSE_FORBIDDEN
    await runs_again(world, task, other, "node_removed")


async def test_a_node_that_is_away_is_removed(world: World) -> None:
    """Its tasks do not wait for its lease to end."""
    node = await world.node()
    task = await world.submit()
    await node.expect(Assign)
    await node.disconnect()
    other = await world.node("other")
    await world.gateway.nodes.remove(await id_of(world), world.trail)
    await runs_again(world, task, other, "node_removed")
