"""The life of tasks, seen live: whatever happens to them, in whatever order, who watches sees it right (R20-R24)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, precondition, rule

from neurogrid.auth.policy import Identity
from neurogrid.gateway import Gateway
from neurogrid.protocol.events import START, EventId, fold, parse_event
from neurogrid.protocol.messages import Assign, Committed
from neurogrid.streams.frames import websocket_event
from tests.support.machines import AsyncMachine, run_machine
from tests.support.scripted import ScriptedNode, World, world_of
from tests.support.until import until

MOST = 12
"""Tasks of one example; the node has a slot for each, so that every one that may run does."""
ATTEMPTS = 2


@dataclass
class Watch:
    """What one client has of a task."""

    types: list[str] = field(default_factory=list)
    last: EventId = START
    text: str = ""
    over: bool = False

    async def run(self, gateway: Gateway, world: World, task: str) -> None:
        """Read to the end; each event comes after the one before."""
        connection = gateway._hub.connect()
        gateway._hub.authenticated(connection, world.owner)
        gateway._hub.follow_task(connection, task, START, websocket_event)
        try:
            while not self.over:
                frame = await connection.outlet.next()
                assert frame is not None
                event = parse_event(json.dumps(json.loads(frame)["event"]).encode())
                assert event.task == task
                assert event.id > self.last, "a repeat or disorder"
                self.last, self.text, self.over = event.id, fold(self.text, event), event.final
                self.types.append(event.type)
        finally:
            gateway._hub.disconnect(connection)


@dataclass
class Model:
    """What a task should be."""

    input: str
    watches: list[Watch]
    leader: str | None = None
    order: Assign | None = None
    seq: int = 1
    text: str = ""
    failures: int = 0
    end: str | None = None


class LiveLives(AsyncMachine):
    """A node that does what it is told, tasks of one owner, and a watcher for each on some gateway."""

    database_url = ""
    redis_url: str | None = None

    def __init__(self) -> None:
        super().__init__()
        grid = world_of(self.database_url, self.redis_url, gateways=2 if self.redis_url else 1)
        self.world: World = self.run(self.stack.enter_async_context(grid))
        for gateway in self.world.gateways:
            gateway._hub._recheck = _all_hold  # the owner has no account
        self.node: ScriptedNode = self.run(
            self.world.node(slots=2 * MOST, models=("m", "same"), deterministic=("same",))
        )
        self.tasks: dict[str, Model] = {}

    ids = Bundle("ids")

    def gateway(self, which: bool) -> Gateway:  # noqa: FBT001 - drawn by the test
        return self.world.gateways[-1 if which else 0]

    @precondition(lambda self: len(self.tasks) < MOST)
    @rule(
        target=ids,
        input=st.sampled_from(["a", "b"]),
        shared=st.booleans(),
        here=st.booleans(),
        there=st.booleans(),
    )
    def submit(self, input: str, *, shared: bool, here: bool, there: bool) -> str:
        submitted_at, watched_at = self.gateway(here), self.gateway(there)
        leader = next((id for id, task in self.tasks.items() if shared and self._leads(task, input)), None)
        submission = self.world.submit(
            submitted_at, model="same" if shared else "m", input=input, max_attempts=ATTEMPTS
        )
        id = self.run(submission)
        watch = Watch()
        self.tasks[id] = Model(input if shared else "", [watch], leader)
        self.world_spawn(watch.run(watched_at, self.world, id))
        if leader is None:
            self.begun(id)
        return id

    def _leads(self, task: Model, input: str) -> bool:
        return task.input == input and task.leader is None and task.end is None

    def world_spawn(self, work: Any) -> None:
        async def spawn() -> None:
            self.world.background.spawn(work, "watch")

        self.run(spawn())

    def begun(self, id: str) -> None:
        """The task must come to the node now."""
        task = self.tasks[id]
        task.order = self.run(self.node.expect(Assign))
        assert task.order.task == id
        task.seq, task.text, task.leader = 1, "", None

    @rule(id=ids, word=st.sampled_from(["x ", "y "]))
    def speak(self, id: str, word: str) -> None:
        task = self.tasks[id]
        if task.order is not None:
            task.seq += 1
            task.text += word
            self.run(self.node.chunk(task.order, task.seq, word))

    @rule(id=ids)
    def complete(self, id: str) -> None:
        task = self.tasks[id]
        if task.order is None:
            return
        self.run(self.node.finish(task.order, seq=task.seq, output={"text": task.text}))
        self.run(self.node.expect(Committed))
        for heir in (id, *self.followers(id)):
            self.ended(heir, "completed", task.text)

    @rule(id=ids, retryable=st.booleans())
    def fail(self, id: str, *, retryable: bool) -> None:
        task = self.tasks[id]
        if task.order is None:
            return
        order, task.order = task.order, None
        self.run(self.node.fail(order, retryable=retryable, seq=task.seq))
        self.run(self.node.expect(Committed))
        task.failures += 1
        if retryable and task.failures < ATTEMPTS:
            self.begun(id)
        elif retryable:  # its retries are used up; another one's are not
            self.hand_over(id, "failed", task.text)
        else:
            for heir in (id, *self.followers(id)):
                self.ended(heir, "failed", task.text)

    @rule(id=ids, there=st.booleans())
    def cancel(self, id: str, *, there: bool) -> None:
        task = self.tasks[id]
        if task.end is None:
            self.run(self.world.cancel(id, self.gateway(there)))
            self.hand_over(id, "canceled", None)

    @rule()
    def reconnect(self) -> None:
        """The node loses its connection and comes back with what it has in hand."""
        self.run(self.node.disconnect())
        held = [(task.order.task, task.order.attempt, task.seq) for task in self.tasks.values() if task.order]
        self.run(self.node.attach(running=held))

    def hand_over(self, id: str, end: str, text: str | None) -> None:
        followers = self.followers(id)
        self.ended(id, end, text)
        if followers:
            heir, *others = followers
            for other in others:
                self.tasks[other].leader = heir
            self.begun(heir)

    def followers(self, id: str) -> list[str]:
        return sorted(other for other, task in self.tasks.items() if task.leader == id and task.end is None)

    def ended(self, id: str, end: str, text: str | None) -> None:
        """Its row says so, and those who watch hear of it, with the text of the last attempt."""
        task = self.tasks[id]
        task.end, task.order = end, None
        self.run(self.world.reaches(id, end))
        (watch,) = task.watches
        self.run(until(lambda: watch.over, what=f"the watcher of a {end} task hears of its end"))
        assert watch.types[-1] == f"task.{end}"
        if text is not None:
            assert watch.text == text

    def teardown(self) -> None:
        for id, task in list(self.tasks.items()):
            if task.order is not None:
                self.complete(id)
        assert all(task.end for task in self.tasks.values())
        super().teardown()


async def _all_hold(identities: Iterable[Identity]) -> set[Identity]:
    return set(identities)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("parts", ["sqlite and in-process", "postgresql and redis"])
def test_live_lives_follow_the_model(parts: str, request: pytest.FixtureRequest) -> None:
    """Rows and watchers agree with the model, on either database, bus and gateway."""
    durable, _, shared = parts.partition(" and ")
    run_machine(
        LiveLives,
        examples=4,
        steps=25,
        database_url=request.getfixturevalue(f"{durable}_url".replace("postgresql", "postgres")),
        redis_url=request.getfixturevalue("redis_url") if shared == "redis" else None,
    )
