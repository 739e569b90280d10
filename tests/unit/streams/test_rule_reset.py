"""What follows a reconnection of pub/sub."""

from __future__ import annotations

from neurogrid.protocol.events import EventType
from tests.support.live import chunk, state
from tests.unit.streams.test_hub import Setting, in_a_hub, read


def test_a_reset_makes_everybody_read_again() -> None:
    """R22: what was published while pub/sub was away is in the stream, and told without waiting for more."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        world.publish(state(world.task, "1-1", EventType.RUNNING))
        connection = setting.connect(world.task)
        assert await read(connection, 2) == ["0-1", "1-1"]
        world.chaos.drop = 1
        world.publish(chunk(world.task, 1, 2))
        world.reset()
        assert await read(connection, 1) == ["1-2"]

    in_a_hub(main)
