"""What a node may do is what the token allows that it joined by, for as long as that holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from neurogrid.dispatch.connection import (
    CLOSE_FORBIDDEN,
    CLOSE_REFUSED,
    CLOSE_UNAUTHENTICATED,
)
from neurogrid.nodes.policy import Scope
from neurogrid.nodes.schemas import NewToken
from neurogrid.protocol.link import LinkClosed
from neurogrid.protocol.messages import Assign
from tests.support.scripted import ScriptedNode, World, world_of

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def deaf(postgres_url: str) -> AsyncIterator[World]:
    """Two gateways on PostgreSQL that cannot hear each other."""
    async with world_of(postgres_url, gateways=2) as opened:
        yield opened


async def token_of(world: World, **wanted: Any) -> Scope:
    """Make a token and return what a node gets that shows it."""
    tokens = world.gateway.join_tokens
    async with world.gateway._database.transaction() as transaction:
        made = await tokens.create(transaction, NewToken(**wanted), world.trail)
    return await tokens.admit(made.token)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [({"node": "lab"}, "of the name lab"), ({"models": ["n", "o"]}, "does not allow the model m")],
)
async def test_a_token_lets_in_what_it_is_for(world: World, wanted: dict[str, Any], reason: str) -> None:
    """A node of another name, or with another model, is turned away with the reason."""
    node = ScriptedNode(world, scope=await token_of(world, **wanted))
    with pytest.raises(LinkClosed) as refused:
        await node.attach()
    assert (refused.value.code, reason in refused.value.reason) == (CLOSE_FORBIDDEN, True)
    assert await world.gateway.nodes.overview() == []
    fitting = ScriptedNode(world, "lab", models=("n",), scope=node.scope)
    await fitting.attach()


async def test_nonsense_is_no_matter_of_scope(world: World) -> None:
    """A hello that makes no sense may be mended and tried again, which its close code says."""
    with pytest.raises(LinkClosed) as refused:
        await ScriptedNode(world, "n" * 201, scope=await token_of(world)).attach()
    assert refused.value.code == CLOSE_REFUSED


@pytest.mark.parametrize("ending", ["revoked", "expired"])
async def test_a_token_that_ends_takes_its_nodes_along(deaf: World, ending: str) -> None:
    """Nodes that joined by a token are disconnected when it ends, at every gateway, and no others.

    Their tasks run elsewhere, uncharged.
    """
    world = deaf
    lifetime = {"expires_in_s": 3.0} if ending == "expired" else {}
    scope = await token_of(world, **lifetime)
    nodes = [ScriptedNode(world, f"node-{n}", slots=1, scope=scope) for n in range(2)]
    tasks = []
    for node, gateway in zip(nodes, world.gateways, strict=True):
        await node.attach(gateway)
        tasks.append(await world.submit(gateway))
        await node.expect(Assign)
    other = ScriptedNode(world, "other", scope=await token_of(world))
    await other.attach()
    if ending == "revoked":
        await world.gateway.join_tokens.revoke(scope.token, world.trail)
    for node in nodes:
        assert (await node.hung_up()).code == CLOSE_UNAUTHENTICATED
    again = {order.task: order for order in [await other.expect(Assign), await other.expect(Assign)]}
    assert set(again) == set(tasks)
    for order in again.values():
        await other.complete(order)
        row = await world.truth.task(order.task)
        assert (row["attempt"], row["errors"], row["losses"]) == (2, 0, 0)
    assert other.connected
