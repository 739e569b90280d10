"""What every bus promises, in process and over Redis."""

from __future__ import annotations

import pytest

from neurogrid.events.bus import Bus
from neurogrid.protocol.events import START, Event, EventId, EventType
from tests.support.live import Heard, chunk, new_task, snapshot, state, text_of
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def kept(bus: Bus, task: str, after: EventId = START) -> list[str]:
    return [str(event.id) for event in await bus.history(task, after)]


async def test_followers_hear_each_event_once_and_in_order(bus: Bus) -> None:
    """A follower hears what is published from the moment ``follow`` returned, once, in order."""
    task, heard = new_task(), Heard()
    following = await bus.follow(task, heard.on_event, heard.on_reset)
    for seq in range(2, 30):
        bus.publish(chunk(task, 1, seq))
    bus.publish(state(task, "1-30", EventType.COMPLETED))
    bus.publish(chunk(new_task(), 1, 2))
    await until(lambda: len(heard.events) >= 29)
    assert heard.ids == [f"1-{seq}" for seq in range(2, 31)]
    await following.close()
    await following.close()
    bus.publish(state(task, "2-0", EventType.RETRYING))
    assert len(heard.events) == 29


async def test_history_returns_what_came_after_the_cursor(bus: Bus) -> None:
    """History is what the stream keeps after the cursor, local events at once."""
    task = new_task()
    assert await kept(bus, task) == []
    for seq in range(2, 8):
        bus.publish(chunk(task, 1, seq))
    assert await kept(bus, task, EventId(1, 4)) == ["1-5", "1-6", "1-7"]
    assert await kept(bus, task, EventId(1, 7)) == []


async def test_states_of_a_task_without_node_events_are_published_and_not_kept(bus: Bus) -> None:
    """A task that never streams costs no stream (R23)."""
    task, heard = new_task(), Heard()
    await bus.follow(task, heard.on_event, heard.on_reset)
    bus.publish(state(task, "0-1", EventType.QUEUED))
    bus.publish(state(task, "1-1", EventType.RUNNING))
    bus.publish(state(task, "1-2", EventType.COMPLETED))
    assert heard.ids == ["0-1", "1-1", "1-2"]
    assert await kept(bus, task) == []


async def test_a_stream_is_bounded(bus: Bus) -> None:
    """A stream keeps its newest events only."""
    task = new_task()
    for seq in range(2, 202):
        bus.publish(chunk(task, 1, seq))
    await until(lambda: kept(bus, task))
    assert await kept(bus, task, EventId(1, 190)) == [f"1-{seq}" for seq in range(191, 202)]
    assert len(await kept(bus, task)) == 50


async def test_a_hole_is_filled_by_a_snapshot(bus: Bus) -> None:
    """An event that does not continue the stream makes the bus ask for the folded text."""
    task, heard = new_task(), Heard()
    asked: list[str] = []

    def source(task_id: str) -> Event:
        asked.append(task_id)
        return snapshot(task_id, 1, 9, "folded")

    bus.snapshots = source
    await bus.follow(task, heard.on_event, heard.on_reset)
    bus.publish(chunk(task, 1, 9))
    bus.publish(chunk(task, 1, 10))

    async def filled() -> bool:
        events = await bus.history(task, START)
        return [(str(event.id), event.type) for event in events] == [
            ("1-9", EventType.SNAPSHOT),
            ("1-10", EventType.CHUNK),
        ]

    await until(filled)
    assert set(asked) == {task}
    assert "folded" in {text_of(event) for event in heard.events}


async def test_a_failing_snapshot_source_stops_nothing(bus: Bus) -> None:
    """Publishing goes on when the source of snapshots breaks."""

    def broken(_: str) -> Event:
        raise RuntimeError("broken")

    bus.snapshots = broken
    gapped, task, heard = new_task(), new_task(), Heard()
    await bus.follow(task, heard.on_event, heard.on_reset)
    bus.publish(chunk(gapped, 1, 9))
    bus.publish(chunk(task, 1, 2))
    await until(lambda: kept(bus, task))
    assert heard.ids == ["1-2"]


async def test_a_failing_follower_harms_no_other(bus: Bus) -> None:
    """One broken follower does not keep events from the next."""
    task, heard = new_task(), Heard()

    def broken(_: Event) -> None:
        raise RuntimeError("broken")

    await bus.follow(task, broken, heard.on_reset)
    await bus.follow(task, heard.on_event, heard.on_reset)
    bus.publish(chunk(task, 1, 2))
    assert heard.ids == ["1-2"]


async def test_topics_reach_every_listener_once(bus: Bus) -> None:
    """A message is heard by each listener of its topic once, and by nobody after closing."""
    first: list[bytes] = []
    second: list[bytes] = []
    other: list[bytes] = []
    listening = await bus.listen("wake", first.append)
    await bus.listen("wake", second.append)
    await bus.listen("control", other.append)
    for number in range(5):
        await bus.send("wake", b"%d" % number)
    await bus.send("control", b"done")
    await until(lambda: other)
    assert first == second == [b"0", b"1", b"2", b"3", b"4"]
    await listening.close()
    await bus.send("wake", b"more")
    assert first[-1] == b"4"
    assert second[-1] == b"more"
