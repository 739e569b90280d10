"""A task's way to a node and back."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from neurogrid.protocol.events import EventType
from neurogrid.protocol.messages import (
    Assign,
    Cancel,
    Committed,
    Refuse,
    Refused,
    Release,
    Resend,
    Result,
    Snapshot,
    Usage,
)
from tests.support.live import text_of
from tests.support.scripted import World, result
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def test_assigned_run_and_committed(world: World) -> None:
    """R6, R17: a task goes to a free slot at once; its result is acknowledged after it is durable."""
    node = await world.node()
    task = await world.submit(input={"a": 1}, parameters={"b": 2}, timeout=30)
    order = await node.expect(Assign)
    assert (order.task, order.attempt, order.model, order.timeout_s) == (task, 1, "m", 30)
    assert (bytes(order.input), bytes(order.parameters)) == (b'{"a":1}', b'{"b":2}')
    assert (await world.truth.task(task))["status"] == "running"
    await node.finish(order, output={"text": "done"})
    answer = await node.expect(Committed)
    assert (answer.task, answer.attempt) == (task, 1)
    row = await world.truth.task(task)
    assert (row["status"], json.loads(row["output"]), row["node"]) == ("completed", {"text": "done"}, "node")


async def test_events_pass_in_order_and_once(world: World) -> None:
    """R21: events of a node reach followers in order, repeated ones once, and the final event is the last + 1."""
    node = await world.node()
    task = await world.submit()
    heard = await world.follow(task)
    order = await node.expect(Assign)
    for seq in (2, 3, 3, 2, 4):
        await node.chunk(order, seq)
    await node.finish(order, seq=4)
    await node.expect(Committed)
    await until(lambda: heard.events and heard.events[-1].final)
    assert [id for id in heard.ids if id >= "1-2"] == ["1-2", "1-3", "1-4", "1-5"]
    assert heard.events[-1].type is EventType.COMPLETED


async def test_a_gap_is_asked_for_once(world: World) -> None:
    """R21: a hole in a node's events is not published; the gateway asks for what is missing, once a hole."""
    node = await world.node()
    task = await world.submit()
    heard = await world.follow(task)
    order = await node.expect(Assign)
    for seq in (2, 5, 6, 7):
        await node.chunk(order, seq)
    assert (await node.expect(Resend)).from_seq == 3
    for seq in (3, 4, 5, 6, 7, 9):
        await node.chunk(order, seq)
    assert (await node.expect(Resend)).from_seq == 8
    await node.say(Snapshot(order.task, order.attempt, 9, "everything"))
    await node.chunk(order, 10, "!")
    await until(lambda: "1-10" in heard.ids)
    assert [id for id in heard.ids if id > "1-1" and len(id) == 3] == [
        f"1-{seq}" for seq in (2, 3, 4, 5, 6, 7, 9)
    ]
    assert [text_of(e) for e in heard.events if e.type is EventType.SNAPSHOT] == ["everything"]
    await node.finish(order, seq=10)
    await node.expect(Committed)


async def test_an_error_is_tried_again(world: World) -> None:
    """R1, R15: a retryable error leads through backoff to the next attempt, and is charged."""
    node = await world.node()
    task = await world.submit(max_attempts=2)
    heard = await world.follow(task)
    first = await node.expect(Assign)
    await node.fail(first)
    await node.expect(Committed)
    again = await node.expect(Assign)
    assert (again.task, again.attempt) == (task, 2)
    await node.finish(again)
    await node.expect(Committed)
    row = await world.reaches(task, "completed")
    assert (row["attempt"], row["errors"], row["losses"]) == (2, 1, 0)
    assert await world.truth.history(task) == [
        ("0-1", "task.queued"), ("1-1", "task.running"), ("2-0", "task.retrying"), ("2-1", "task.running"),
        ("2-2", "task.completed"),
    ]  # fmt: skip
    await until(lambda: heard.events and heard.events[-1].final)
    assert heard.ids[-3:] == ["2-0", "2-1", "2-2"]


@pytest.mark.parametrize("retryable", [True, False])
async def test_the_last_error_is_final(world: World, *, retryable: bool) -> None:
    """R1: used-up attempts make a dead letter; an error that no repetition mends ends the task at once."""
    node = await world.node()
    task = await world.submit(max_attempts=2 if retryable else 9)
    for _ in range(2 if retryable else 1):
        await node.fail(await node.expect(Assign), retryable=retryable)
        await node.expect(Committed)
    row = await world.reaches(task, "failed")
    assert row["dead_letter"] is retryable
    assert json.loads(row["error"]) == {"code": "boom", "message": "it broke"}


async def test_a_result_presented_twice_counts_once(world: World) -> None:
    """Law 3, R6: the second presentation of a result is refused, and changes nothing."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await node.finish(order, output="first")
    await node.expect(Committed)
    await node.finish(order, output="second")
    refused = await node.expect(Refused)
    assert (refused.task, refused.attempt) == (task, 1)
    await node.fail(order)
    await node.expect(Refused)
    assert (await world.truth.task(task))["output"] == '"first"'
    assert len(await world.truth.events(task)) == 3


async def test_a_refused_task_goes_elsewhere(world: World) -> None:
    """R1: what a node hands back is queued at once, uncharged, and runs on another node."""
    first = await world.node("first")
    task = await world.submit()
    order = await first.expect(Assign)
    second = await world.node("second", slots=9)
    await world.gateway._dispatcher.stop("nothing", 1)
    for connection in world.gateway._dispatcher.connections.values():
        connection.leaving = connection.name == "first"
    await first.say(Refuse(order.task, order.attempt, "draining"))
    again = await second.expect(Assign)
    assert (again.task, again.attempt) == (task, 2)
    await second.finish(again)
    await second.expect(Committed)
    row = await world.truth.task(task)
    assert (row["errors"], row["losses"]) == (0, 0)
    retrying = (await world.truth.events(task))[2]
    assert retrying.data == {"status": "queued", "reason": "draining"}


async def test_a_cancel_stops_the_node(world: World) -> None:
    """R1: a cancelled task is stopped on its node, its slot is free, and what it still says is refused."""
    node = await world.node(slots=1)
    task = await world.submit()
    order = await node.expect(Assign)
    await world.cancel(task)
    stop = await node.expect(Cancel)
    assert (stop.task, stop.attempt) == (task, 1)
    await node.chunk(order, 2)
    assert (await node.expect(Release)).task == task
    await node.finish(order)
    await node.expect(Refused)
    assert (await world.truth.task(task))["status"] == "canceled"
    other = await world.submit()
    assert (await node.expect(Assign)).task == other
    await world.cancel(other)


async def test_cancel_and_result_race(world: World) -> None:
    """Law 3: of a cancel and a result at the same moment exactly one happens."""
    node = await world.node(slots=8)
    tasks = [await world.submit() for _ in range(8)]
    orders = [await node.expect(Assign) for _ in tasks]
    outcomes = await asyncio.gather(
        *(node.finish(order) for order in orders),
        *(world.cancel(order.task) for order in orders),
        return_exceptions=True,
    )
    assert len(outcomes) == 16
    answers = [await node.verdict() for _ in orders]
    committed = {answer.task for answer in answers if isinstance(answer, Committed)}
    for task in tasks:
        row = await world.truth.task(task)
        assert row["status"] == ("completed" if task in committed else "canceled")
        assert len(await world.truth.events(task)) == 3


async def test_bad_output_is_an_error_of_the_model(world: World) -> None:
    """R9: figures or bytes that no database takes end the task with `invalid_output`; the node is answered."""
    node = await world.node(slots=3)
    for seq, output, usage in (
        (1, b'"\xff\xfe"', Usage()),
        (1, b'"ok"', Usage(prompt_tokens=2**60)),
        (2**40, b'"ok"', Usage()),
    ):
        task = await world.submit()
        order = await node.expect(Assign)
        await node.say(Result(order.task, order.attempt, seq, msgspec.Raw(output), usage))
        await node.expect(Committed)
        row = await world.truth.task(task)
        if row["status"] == "completed":  # SQLite's integers are larger
            assert output == b'"ok"'
        else:
            assert json.loads(row["error"])["code"] == "invalid_output"


async def test_garbage_ids_are_refused(world: World) -> None:
    """R9: a result for what is no task of ours is refused, and nobody else's result suffers."""
    node = await world.node()
    await node.say(Result("no-uuid", 1, 1, msgspec.Raw(b"1")))
    assert (await node.expect(Refused)).task == "no-uuid"
    await node.say(Result("0" * 36, 2**40, 1, msgspec.Raw(b"1")))
    await node.expect(Refused)
    task = await world.submit()
    order = await node.expect(Assign)
    await node.say(result(order))
    assert (await node.expect(Committed)).task == task


async def test_too_large_an_output_fails(world: World) -> None:
    """R12: an output past the hard limit ends the task; a large one is kept apart and read as if it were not."""
    node = await world.node()
    large = await world.submit()
    order = await node.expect(Assign)
    await node.finish(order, output="x" * 400_000)
    await node.expect(Committed)
    row = await world.truth.task(large)
    assert (row["status"], row["output"], row["output_apart"]) == ("completed", None, True)
    shown = json.loads(await world.gateway._tasks.get(world.owner, large))
    assert shown["output"] == "x" * 400_000
    huge = await world.submit()
    order = await node.expect(Assign)
    await node.finish(order, output="x" * (16 * 1024 * 1024))
    await node.expect(Committed)
    row = await world.truth.task(huge)
    assert json.loads(row["error"])["code"] == "output_too_large"


async def test_a_result_counts_only_from_the_node_that_has_the_task(world: World) -> None:
    """A node cannot end what another one runs, though it knows task and attempt."""
    holder = await world.node(slots=1)
    task = await world.submit()
    order = await holder.expect(Assign)
    other = await world.node("other", slots=1)
    await other.say(result(order, output="forged"))
    assert (await other.expect(Refused)).task == task
    await holder.say(result(order))
    assert (await holder.expect(Committed)).task == task
