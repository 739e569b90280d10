"""What a submission that comes to nothing leaves behind."""

from __future__ import annotations

import pytest

from neurogrid.protocol.messages import Assign, Committed
from neurogrid.tasks.schemas import TaskSubmit
from tests.support.scripted import World

pytestmark = pytest.mark.asyncio


async def test_a_repeated_submission_gives_its_charge_back(world: World) -> None:
    """R19: what an owner was overcharged is not used up by a submission whose key stands for a task already."""
    node = await world.node()
    submissions, clock = world.gateway._submissions, world.gateway._dispatcher.clock
    body = TaskSubmit(model="m", input="hi")
    await submissions.submit(world.owner, body, key="k")
    await node.finish(await node.expect(Assign))
    await node.expect(Committed)
    clock.settled(world.owner.user_id, "m", 1, cost=100.0, actual=99.5)
    assert (await submissions.submit(world.owner, body, key="k")).replayed
    assert clock.price(world.owner.user_id, "m", 1, 1.0)[0] == 0.5
