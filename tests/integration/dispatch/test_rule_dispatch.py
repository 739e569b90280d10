"""Rules about nodes, results and wake-ups that no other test of dispatch holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
import pytest

from neurogrid.core.ids import new_id
from neurogrid.dispatch import watch
from neurogrid.events.states import HINT_DELAY, owner_topic
from neurogrid.gateway import Gateway
from neurogrid.protocol.messages import (
    Assign,
    Committed,
    Error,
    Failure,
    Heartbeat,
    Refused,
    Result,
    Usage,
)
from neurogrid.queue.ops import Cancel, Finish, Insert, Op, Renew, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from neurogrid.tasks.schemas import TaskSubmit
from tests.support.queue import insertion
from tests.support.scripted import World, settings_for, world_of
from tests.support.until import until

pytestmark = pytest.mark.asyncio

FAR = datetime(2999, 1, 1, tzinfo=UTC)


async def test_a_heartbeat_writes_one_row(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2: however many tasks a node runs, a heartbeat renews the row of its session and no other."""
    node = await world.node(slots=3, beating=False)
    orders = []
    for _ in range(3):
        await world.submit()
        orders.append(await node.expect(Assign))
    journal, written = world.gateway._journal, []
    execute = journal.execute

    async def count(op: Op, **options: Any) -> Any:
        written.append(op)
        return await execute(op, **options)

    monkeypatch.setattr(journal, "execute", count)
    await node.say(Heartbeat(progress=[(order.task, 1, 1) for order in orders]))
    await until(lambda: written)
    for order in orders:
        await node.finish(order)
        await node.expect(Committed)
    (connection,) = world.gateway._dispatcher.connections.values()
    assert [op for op in written if not isinstance(op, Want | Finish)] == [Renew(connection.session, 60.0)]


async def test_a_gateway_left_behind_blames_no_model(postgres_url: str, redis_url: str) -> None:
    """R3, R5: silence on a link the node has left takes nothing away from the node's next gateway."""
    async with world_of(postgres_url, redis_url, gateways=2, reconcile=20.0) as two:
        here, there = two.gateways
        node = await two.node(gateway=here, max_silence=30.0, beating=False)
        task = await two.submit(here)
        order = await node.expect(Assign)
        (before,) = here._dispatcher.connections.values()
        await node.attach(there, running=[(task, 1, 1)])  # the former link stays half open
        before.running[task].sign_at -= 1000
        await here._watch.silence()
        row = await two.truth.task(task)
        assert (row["status"], row["attempt"], row["losses"]) == ("running", 1, 0)
        await node.finish(order)
        await node.expect(Committed)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_unknown_for_a_moment_is_not_handed_back(database_url: str) -> None:
    """R7: a claim that is committed and not yet known here is left alone for two seconds."""
    async with world_of(database_url, reconcile=20.0) as world:
        node = await world.node()
        (connection,) = world.gateway._dispatcher.connections.values()
        op = insertion(lane="m", model="m", session=connection.session)
        assert (await world.truth.one(op)).status is Status.RUNNING
        rounds = world.gateway._watch
        await rounds.reconcile()
        assert (await world.truth.task(op.id))["attempt"] == 1
        rounds._unknown[op.id, 1] -= watch.UNKNOWN_FOR
        await rounds.reconcile()
        order = await node.expect(Assign)
        assert (order.task, order.attempt) == (op.id, 2)
        await node.finish(order)
        await node.expect(Committed)


async def test_an_assignment_that_comes_late_is_checked(world: World) -> None:
    """R7: a gateway that slept between claim and assignment does not send what has moved on meanwhile."""
    node = await world.node()
    (connection,) = world.gateway._dispatcher.connections.values()
    claimed = await world.truth.running(connection.session, model="m")
    moved = Requeue(claimed.task, 1, Status.WAITING, Charge.LOSS, "node_lost", delay=600)
    assert await world.truth.one(moved) is not None
    world.gateway._dispatcher.assignments.begin(connection, claimed, time.monotonic() - 1000)
    await until(lambda: claimed.task not in connection.running)
    task = await world.submit()
    order = await node.expect(Assign)
    assert order.task == task
    await node.finish(order)
    await node.expect(Committed)


async def test_nul_in_a_result_stays_escaped(world: World) -> None:
    """R9: a model may say NUL; it is kept as JSON writes it, in outputs and in errors, and read back so."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await node.finish(order, output={"text": "a\x00b"})
    await node.expect(Committed)
    shown = orjson.loads(await world.gateway._tasks.get(world.owner, task))
    assert (shown["status"], shown["output"]) == ("completed", {"text": "a\x00b"})
    failing = await world.submit()
    order = await node.expect(Assign)
    await node.say(Error(order.task, 1, 1, Failure("boom", "a\x00b"), retryable=False))
    await node.expect(Committed)
    row = await world.truth.task(failing)
    assert orjson.loads(row["error"]) == {"code": "boom", "message": "a\x00b"}


async def test_a_large_output_is_durable_before_its_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R12: the row of a task points to no output that is still on its way, and nobody waits for one meanwhile."""
    node = await world.node(slots=2)
    outputs = world.gateway.gate._settlements._outputs
    put_apart, may_go = outputs.put_apart, asyncio.Event()

    async def slow(task: str, attempt: int, output: str) -> bool:
        if len(output) > 300_000:
            await may_go.wait()
        return await put_apart(task, attempt, output)

    monkeypatch.setattr(outputs, "put_apart", slow)
    large, small = await world.submit(), await world.submit()
    orders = {order.task: order for order in [await node.expect(Assign), await node.expect(Assign)]}
    await node.finish(orders[large], output="x" * 400_000)
    await node.finish(orders[small])
    assert (await node.expect(Committed)).task == small
    assert (await world.truth.task(large))["status"] == "running"
    may_go.set()
    assert (await node.expect(Committed)).task == large
    shown = orjson.loads(await world.gateway._tasks.get(world.owner, large))
    assert shown["output"] == "x" * 400_000


@pytest.mark.parametrize("redis", [None, "redis://127.0.0.1:1/0"])
async def test_polls_are_closer_without_redis(sqlite_url: str, redis: str | None) -> None:
    """R18, R24: while Redis is away work and awaited tasks are looked for more often; where there is none, not."""
    gateway = Gateway(settings_for(sqlite_url, redis, {"poll": 7.0, "poll_alone": 0.7}))
    live = gateway.settings.live
    assert gateway._poll_interval() == (0.7 if redis else 7.0)
    expected = live.waiter_poll_alone if redis else live.waiter_poll
    assert gateway._waiters.interval() == gateway._hub._poll_interval() == expected


async def test_waiting_is_shown_as_queued(world: World) -> None:
    """R15: clients know no `waiting`: they see `queued`, and why it does not run yet."""
    task = (await world.truth.queued(owner=world.owner.user_id)).id
    await world.truth.alter(task, status="waiting", wait_reason="backoff", run_at=FAR)
    shown = orjson.loads(await world.gateway._tasks.get(world.owner, task))
    assert (shown["status"], shown["wait_reason"]) == ("queued", "backoff")


async def test_hints_of_a_lane_are_gathered(two: World) -> None:
    """R18: a thousand tasks in a moment are one hint to the other gateways, and later ones another."""
    here, there = two.gateways
    heard: list[bytes] = []
    await there._bus.listen("wake", heard.append)
    for _ in range(1000):
        here._dispatcher.arrived("busy")
    await until(lambda: b"busy" in heard)
    here._dispatcher.arrived("busy")
    await until(lambda: len(heard) > 1)
    assert heard == [b"busy"] * 2


async def test_states_are_told_after_their_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R21: what is not durable yet is told to nobody, neither its owner's hint nor an end; then the row's id is."""
    node = await world.node()
    journal, may_go = world.gateway._journal, asyncio.Event()
    execute, waiting = journal.execute_all, asyncio.Event()

    async def held_up(ops: Sequence[Op], **options: Any) -> Any:
        if any(isinstance(op, Insert | Finish) for op in ops):
            waiting.set()
            await may_go.wait()
        return await execute(ops, **options)

    monkeypatch.setattr(journal, "execute_all", held_up)
    task = new_id()
    heard = await world.follow(task)
    hints: list[bytes] = []
    await world.gateway._bus.listen(owner_topic(world.owner.user_id), hints.append)
    body = TaskSubmit(model="m", input="hi")
    submission = world.gateway._submissions.submit(world.owner, body, task=task)
    world.background.spawn(submission, "submit")
    await waiting.wait()
    await asyncio.sleep(2 * HINT_DELAY)
    assert hints == []
    may_go.set()
    order = await node.expect(Assign)
    await until(lambda: len(hints) == 1)
    may_go.clear()
    waiting.clear()
    await node.finish(order)
    await waiting.wait()
    await asyncio.sleep(2 * HINT_DELAY)
    assert (heard.ids, len(hints)) == ([], 1)
    may_go.set()
    await node.expect(Committed)
    assert heard.ids == ["1-2"] == [id for id, _ in await world.truth.history(task)][2:]


async def test_virtual_time_is_everybodys(two: World) -> None:
    """R17: how far a lane has been served at one gateway is soon known to the others, which rank and claim by it."""
    here, there = (gateway._dispatcher for gateway in two.gateways)
    here.clock.served("m", 1, 50.0)
    await until(lambda: there.present("m", 1) == 50.0)
    here.clock.served("m", 1, 70.0)
    there.clock.served("m", 1, 60.0)
    await until(lambda: there.present("m", 1) == 70.0)
    assert (here.present("m", 1), there.present("m", 0)) == (70.0, 0.0)


async def test_an_end_nobody_told_of_is_found(world: World) -> None:
    """R24: whoever waits for a task is let go by the next look at the rows, asked for in one query."""
    waiters, tasks = world.gateway._waiters, [(await world.truth.queued()).id for _ in range(3)]
    with ExitStack() as stack:
        ends = [stack.enter_context(waiters.expecting(task)) for task in tasks]
        await world.truth.do(*(Cancel(task) for task in tasks[:2]))
        await waiters.look()
        assert [over.is_set() for over in ends] == [True, True, False]


async def test_a_repeated_submission_gives_its_slot_back(world: World) -> None:
    """R19: a submission whose key stands for a task already holds no slot of a node."""
    node = await world.node()
    (connection,) = world.gateway._dispatcher.connections.values()
    body = TaskSubmit(model="m", input="hi")
    first = await world.gateway._submissions.submit(world.owner, body, key="k")
    order = await node.expect(Assign)
    await node.finish(order)
    await node.expect(Committed)
    again = await world.gateway._submissions.submit(world.owner, body, key="k")
    assert (again.id, again.replayed) == (first.id, True)
    await until(lambda: connection.used == 0)  # a look for work may hold it for a moment


async def test_only_the_attempt_that_counts_is_billed(world: World) -> None:
    """R26: what failed and lost attempts used is nobody's bill."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await node.chunk(order, 2)
    lost = Usage(50, 60, 7.0)
    await node.say(Error(task, 1, 2, Failure("boom", "it broke"), retryable=True, usage=lost))
    await node.expect(Committed)
    order = await node.expect(Assign)
    assert order.attempt == 2
    assert (await world.truth.task(task))["completion_tokens"] == 0
    await node.say(Result(task, 2, 1, msgspec.Raw(b'"ok"'), Usage(1, 2, 0.5)))
    await node.expect(Committed)
    row = await world.truth.task(task)
    assert (row["prompt_tokens"], row["completion_tokens"], row["compute_seconds"]) == (1, 2, 0.5)


async def test_unknown_fields_are_ignored(world: World) -> None:
    """R30: a newer node may say more in a message than this release knows."""
    node = await world.node()
    assert node._link is not None
    await world.submit()
    order = await node.expect(Assign)
    for frame in (
        {"type": "heartbeat", "mood": "fine", "progress": []},
        {"type": "chunk", "task": order.task, "attempt": 1, "seq": 2, "data": {"text": "a"}, "later": [1]},
        {"type": "result", "task": order.task, "attempt": 1, "seq": 2, "output": "ok", "usage": {"later": 1}},
    ):
        await node._link.send(orjson.dumps(frame))
    assert not isinstance(await node.verdict(), Refused)
    assert (await world.truth.task(order.task))["status"] == "completed"
