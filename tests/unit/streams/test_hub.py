"""Nobody who follows a task sees a gap, a repeat or disorder, whatever happens between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.auth.policy import Identity, Role, Tier
from neurogrid.core.settings import LiveSettings
from neurogrid.events.stream import NODE_EVENTS
from neurogrid.protocol.events import START, Event, EventId, EventType, fold, parse_event
from neurogrid.streams.connection import Connection
from neurogrid.streams.frames import websocket_event
from neurogrid.streams.hub import Hub
from neurogrid.streams.outlet import Frame
from tests.support.live import chunk, snapshot, state
from tests.support.virtual_time import run_in_virtual_time
from tests.unit.streams.world import OWNER, Chaos, World, story

ALICE = Identity(OWNER, "key", Role.USER, Tier.FREE)


async def still_valid(identities: object) -> set[Identity]:
    return set(identities)  # type: ignore[call-overload, no-any-return]


async def no_stats() -> dict[str, object]:
    return {"tasks": 1}


def parse(frame: Frame) -> Event:
    body = json.loads(frame)
    assert body["type"] == "event"
    raw = json.dumps(body["event"]).encode()
    return parse_event(raw)


@dataclass
class Client:
    """Reads what it is sent, checks each step, and resumes with its last id when it was cut off."""

    hub: Hub
    task: str
    random: Random
    last: EventId = START
    text: str = ""
    seen: list[Event] = field(default_factory=list)
    cuts: int = 0

    async def run(self) -> None:
        while not (self.seen and self.seen[-1].type is EventType.COMPLETED):
            connection = self.hub.connect()
            self.hub.authenticated(connection, ALICE)
            self.hub.follow_task(connection, self.task, self.last, websocket_event)
            await self._read(connection)
            self.hub.disconnect(connection)

    async def _read(self, connection: Connection) -> None:
        while (frame := await connection.outlet.next()) is not None:
            event = parse(frame)
            self._check(event)
            self.last = event.id
            self.text = fold(self.text, event)
            self.seen.append(event)
            if event.type is EventType.COMPLETED:
                return
            if self.cuts and self.random.random() < 0.05:
                self.cuts -= 1
                return
            if self.random.random() < 0.1:
                await asyncio.sleep(self.random.choice([0, 0.05, 1]))

    def _check(self, event: Event) -> None:
        assert event.id > self.last, "a repeat or disorder"
        if event.type in NODE_EVENTS:
            assert event.id == (self.last.attempt, self.last.seq + 1), "a gap"


async def act(world: World, random: Random, events: list[Event]) -> None:
    for event in events:
        world.publish(event)
        if random.random() < 0.3:
            await asyncio.sleep(random.choice([0, 0.001, 0.02, 0.7]))


CHAOS = st.builds(
    Chaos,
    drop=st.sampled_from([0, 0.1, 0.5, 1]),
    repeat=st.sampled_from([0, 0.3]),
    delay=st.sampled_from([0, 0.3]),
    wipe=st.sampled_from([0, 0.05, 0.5]),
    reset=st.sampled_from([0, 0.05]),
    deaf=st.sampled_from([0, 0.5, 1]),
    rows_fail=st.sampled_from([0, 0.2]),
)


@pytest.mark.timeout(300)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32), chaos=CHAOS, clients=st.integers(1, 4), buffer=st.sampled_from([2, 8, 256])
)
def test_every_client_gets_the_whole_story_once_and_in_order(
    seed: int, chaos: Chaos, clients: int, buffer: int
) -> None:
    """Through loss, repeats, disorder, wiped streams, resets, cuts and slowness, each client folds the right text and
    sees every state event once and in order (LIVE-4, R22).
    """

    async def main() -> None:
        random = Random(seed)
        world = World(random, chaos)
        events = story(random, world.task)
        hub = Hub(world, world, LiveSettings(buffer=buffer), recheck=still_valid, stats=no_stats)
        await hub.start()
        readers = [Client(hub, world.task, random, cuts=random.choice([0, 0, 3])) for _ in range(clients)]

        async def late(client: Client) -> None:
            await asyncio.sleep(random.choice([0, 0, 0.5, 3, 30]))
            await client.run()

        async with asyncio.timeout(600), asyncio.TaskGroup() as group:
            for client in readers:
                group.create_task(late(client))
            await act(world, random, events)
        final = events[-1]
        states = [event.id for event in events if event.type not in NODE_EVENTS]
        expected = json.loads(final.raw)["data"]["output"]["text"]
        for client in readers:
            assert client.text == expected
            assert [
                event.id
                for event in client.seen
                if event.type not in NODE_EVENTS and event.type is not EventType.SNAPSHOT
            ] == states
        await hub.shutdown()
        assert not world.followers

    run_in_virtual_time(main())


@dataclass
class Setting:
    world: World
    hub: Hub

    def connect(self, task: str | None = None, after: EventId = START) -> Connection:
        connection = self.hub.connect()
        self.hub.authenticated(connection, ALICE)
        if task:
            self.hub.follow_task(connection, task, after, websocket_event)
        return connection


def in_a_hub(test: Callable[[Setting], Awaitable[None]], **live: float) -> None:
    async def main() -> None:
        world = World()
        hub = Hub(world, world, LiveSettings.model_validate(live), recheck=still_valid, stats=no_stats)
        await hub.start()
        await test(Setting(world, hub))
        for connection in list(hub._connections):
            hub.disconnect(connection)
        await hub.shutdown()

    run_in_virtual_time(main())


async def read(connection: Connection, count: int) -> list[str]:
    ids = []
    async with asyncio.timeout(60):
        for _ in range(count):
            frame = await connection.outlet.next()
            assert frame is not None
            ids.append(str(parse(frame).id))
    return ids


def test_a_slow_client_is_closed_with_1013_and_others_are_not_held_up() -> None:
    """A full buffer closes its connection, frees its memory, and touches nobody else (LIVE-3)."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        world.publish(state(world.task, "1-1", EventType.RUNNING))
        slow, quick = setting.connect(world.task), setting.connect(world.task)
        assert await read(slow, 2) == await read(quick, 2) == ["0-1", "1-1"]
        await asyncio.sleep(1)
        for seq in range(2, 20):
            world.publish(chunk(world.task, 1, seq))
            assert await read(quick, 1) == [f"1-{seq}"]
        assert slow.outlet.closing is not None
        assert slow.outlet.closing.code == 1013
        assert await slow.outlet.next() is None
        setting.hub.disconnect(slow)
        assert setting.hub.statistics.closed_slow == 1
        resumed = setting.connect(world.task, EventId(1, 1))
        assert await read(resumed, 18) == [f"1-{seq}" for seq in range(2, 20)]

    in_a_hub(main, buffer=10)


def test_a_frame_is_rendered_once_for_all_subscribers() -> None:
    """However many follow a task live, they are sent the same object."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        connections = [setting.connect(world.task) for _ in range(5)]
        for connection in connections:
            await read(connection, 1)
        await asyncio.sleep(1)
        world.publish(state(world.task, "1-1", EventType.RUNNING))
        frames = [await connection.outlet.next() for connection in connections]
        assert all(frame is frames[0] for frame in frames)

    in_a_hub(main)


def test_readers_that_wait_together_share_one_reading() -> None:
    """A thousand clients that lost the thread at once do not read the rows a thousand times."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        connections = [setting.connect(world.task) for _ in range(200)]
        for connection in connections:
            await read(connection, 1)
        await asyncio.sleep(1)
        before = world.reads
        world.reset()
        await asyncio.sleep(1)
        assert world.reads - before <= 3

    in_a_hub(main)


def test_a_finished_task_whose_stream_is_gone_is_told_from_its_row() -> None:
    """Late subscribers get the states, the whole text as a snapshot, and the final event."""

    async def main(setting: Setting) -> None:
        world = setting.world
        for event in (
            state(world.task, "0-1", EventType.QUEUED),
            state(world.task, "1-1", EventType.RUNNING),
            chunk(world.task, 1, 2, "Hello "),
            chunk(world.task, 1, 3, "world"),
            state(world.task, "1-4", EventType.COMPLETED),
        ):
            world.publish(event)
        world.stream.clear()
        connection = setting.connect(world.task)
        events = [parse(await connection.outlet.next() or "") for _ in range(4)]
        assert [str(event.id) for event in events] == ["0-1", "1-1", "1-3", "1-4"]
        assert events[2].type is EventType.SNAPSHOT
        assert fold("", events[2]) == "Hello world"
        resumed = setting.connect(world.task, EventId(1, 3))
        assert await read(resumed, 1) == ["1-4"]

    in_a_hub(main)


def test_a_hole_in_a_running_task_is_filled_by_its_gateway() -> None:
    """The owning gateway is asked for a snapshot, and asked again when it does not answer."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.chaos.deaf = 1
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        world.publish(state(world.task, "1-1", EventType.RUNNING))
        connection = setting.connect(world.task)
        assert await read(connection, 2) == ["0-1", "1-1"]
        world.chaos.wipe = 1
        world.chaos.drop = 1
        world.publish(chunk(world.task, 1, 2, "a"))
        world.chaos.drop = 0
        world.publish(chunk(world.task, 1, 3, "b"))
        await asyncio.sleep(5)
        assert connection.outlet.empty
        world.chaos.deaf = 0
        event = parse(await connection.outlet.next() or "")
        assert (str(event.id), event.type, fold("", event)) == ("1-3", EventType.SNAPSHOT, "ab")

    in_a_hub(main)


@pytest.mark.parametrize("cursor", ["1-9999", "7-3"])
def test_a_cursor_nobody_gave_out_does_not_silence_a_task(cursor: str) -> None:
    """A client that claims to have seen more than there can be is told everything, at the end at the latest."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        world.publish(state(world.task, "1-1", EventType.RUNNING))
        world.publish(chunk(world.task, 1, 2, "a"))
        connection = setting.connect(world.task, EventId.parse(cursor))
        await asyncio.sleep(1)
        world.publish(chunk(world.task, 1, 3, "b"))
        world.publish(state(world.task, "1-4", EventType.COMPLETED))
        assert await read(connection, 5) == ["0-1", "1-1", "1-2", "1-3", "1-4"]

    in_a_hub(main)


def test_a_cursor_beyond_what_is_known_here_is_believed() -> None:
    """After a restart a gateway learns anew what a node said; a client that has it is told nothing twice."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        world.publish(state(world.task, "1-1", EventType.RUNNING))
        connection = setting.connect(world.task, EventId(1, 4))
        await asyncio.sleep(1)
        for seq in range(2, 6):
            world.publish(chunk(world.task, 1, seq, "a"))
        world.publish(state(world.task, "1-6", EventType.COMPLETED))
        assert await read(connection, 2) == ["1-5", "1-6"]

    in_a_hub(main)


def test_a_state_lost_without_a_trace_is_found_in_the_rows() -> None:
    """A final event that nobody was told of arrives all the same (R24)."""

    async def main(setting: Setting) -> None:
        world = setting.world
        world.publish(state(world.task, "0-1", EventType.QUEUED))
        connection = setting.connect(world.task)
        assert await read(connection, 1) == ["0-1"]
        world.chaos = Chaos(drop=1, wipe=1)
        world.publish(state(world.task, "1-1", EventType.RUNNING))
        world.publish(state(world.task, "1-2", EventType.COMPLETED))
        assert await read(connection, 2) == ["1-1", "1-2"]

    in_a_hub(main)


def test_unknown_snapshots_do_not_disturb_those_who_are_up_to_date() -> None:
    """A snapshot somebody else asked for is no news to a client that has it all."""

    async def main(setting: Setting) -> None:
        world = setting.world
        for event in (
            state(world.task, "0-1", EventType.QUEUED),
            state(world.task, "1-1", EventType.RUNNING),
            chunk(world.task, 1, 2),
        ):
            world.publish(event)
        connection = setting.connect(world.task)
        assert await read(connection, 3) == ["0-1", "1-1", "1-2"]
        world.deliver(snapshot(world.task, 1, 2, "x"))
        world.publish(chunk(world.task, 1, 3))
        assert await read(connection, 1) == ["1-3"]
        await asyncio.sleep(5)
        assert connection.outlet.empty

    in_a_hub(main)


def test_identities_that_no_longer_hold_lose_their_connections() -> None:
    """A revoked key closes its open sockets with 4401 (R28)."""

    async def main() -> None:
        world = World()

        async def revoked(_: object) -> set[Identity]:
            return set()

        hub = Hub(world, world, LiveSettings(), recheck=revoked, stats=no_stats)
        await hub.start()
        connection = hub.connect()
        hub.authenticated(connection, ALICE)
        anonymous = hub.connect()
        assert await connection.outlet.next() is None
        assert connection.outlet.closing is not None
        assert connection.outlet.closing.code == 4401
        assert anonymous.outlet.closing is None
        hub.disconnect(connection)
        hub.disconnect(anonymous)
        await hub.shutdown()

    run_in_virtual_time(main())


def test_a_user_has_a_bounded_number_of_connections() -> None:
    """The next one is closed with 4429, and one that leaves makes room."""

    async def main(setting: Setting) -> None:
        first, second, third = (setting.connect() for _ in range(3))
        assert first.outlet.closing is None
        assert second.outlet.closing is None
        assert third.outlet.closing is not None
        assert third.outlet.closing.code == 4429
        setting.hub.disconnect(third)
        setting.hub.disconnect(first)
        assert setting.connect().outlet.closing is None

    in_a_hub(main, connections_per_user=2)


def test_tasks_channel_resumes_by_cursor() -> None:
    """Every state event of the owner's tasks comes once, from the cursor on, and with the cursor to resume at."""

    async def main(setting: Setting) -> None:
        world, hub = setting.world, setting.hub
        world.rows = [state(world.task, f"{n}-0", EventType.RETRYING) for n in range(1, 400)]
        old, new = setting.connect(), setting.connect()
        hub.follow_owner(old, OWNER, await hub.tasks_cursor(OWNER, "9"))
        hub.follow_owner(new, OWNER, await hub.tasks_cursor(OWNER, None))
        got = [json.loads(await old.outlet.next() or "") for _ in range(390)]
        assert [body["cursor"] for body in got] == [str(n) for n in range(10, 400)]
        assert [body["event"]["id"] for body in got] == [f"{n}-0" for n in range(10, 400)]
        world.rows.append(state(world.task, "400-0", EventType.RETRYING))
        await world.send(f"owner:{OWNER}", b"")
        for connection in (old, new):
            body = json.loads(await connection.outlet.next() or "")
            assert (body["channel"], body["cursor"], body["event"]["id"]) == ("tasks", "400", "400-0")
        assert new.outlet.empty

    in_a_hub(main)


@pytest.mark.parametrize("channel", ["system", "stats"])
def test_broadcasts_reach_those_who_follow_them(channel: str) -> None:
    """Announcements and statistics come to their subscribers and to nobody else."""

    async def main(setting: Setting) -> None:
        reader, other = setting.connect(), setting.connect()
        setting.hub.follow_broadcast(reader, channel)
        if channel == "system":
            await setting.world.send("system", b'{"message":"hello"}')
        body = json.loads(await reader.outlet.next() or "")
        assert body["type"] == "event"
        assert body["channel"] == channel
        assert body["event"] in ({"message": "hello"}, {"tasks": 1})
        assert other.outlet.empty
        reader.leave.pop(channel)()
        await setting.world.send("system", b"{}")
        await asyncio.sleep(20)
        assert reader.outlet.empty

    in_a_hub(main)


def test_shutdown_closes_with_1012() -> None:
    """Clients are told to reconnect elsewhere, after what waits for them; late ones at once (LIVE-5)."""

    async def main() -> None:
        world = World()
        hub = Hub(world, world, LiveSettings(), recheck=still_valid, stats=no_stats)
        await hub.start()
        connection = hub.connect()
        connection.outlet.offer("last words")
        hub.stop_accepting()
        assert await connection.outlet.next() == "last words"
        assert await connection.outlet.next() is None
        late = hub.connect()
        for closed in (connection, late):
            assert closed.outlet.closing is not None
            assert closed.outlet.closing.code == 1012
            hub.disconnect(closed)
        await hub.shutdown()

    run_in_virtual_time(main())
