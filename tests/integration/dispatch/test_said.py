"""What nodes say of their tasks is bounded and checked before anybody reads it."""

from __future__ import annotations

import json

import msgspec
import pytest

from neurogrid.protocol.events import EventType
from neurogrid.protocol.messages import Assign, Cancel, Committed, Result, Snapshot, Usage
from tests.support.live import text_of
from tests.support.scripted import ScriptedNode, World
from tests.support.until import until

pytestmark = pytest.mark.asyncio
DEEP = "[" * 10_000 + "]" * 10_000
SHALLOWER = "[" * 200 + "]" * 200
BAD = ["[1e400]", "NaN", "[Infinity]", DEEP, SHALLOWER, '"\\ud800"']
MOST = 50_000


async def failed(world: World, task: str, code: str) -> None:
    row = await world.reaches(task, "failed")
    assert (json.loads(row["error"])["code"], row["dead_letter"]) == (code, False)


async def says(node: ScriptedNode, order: Assign, type: str, seq: int, member: str) -> None:
    """Send a frame as a node may that is written in any language."""
    assert node._link is not None
    frame = f'{{"attempt":{order.attempt},{member},"seq":{seq},"task":"{order.task}","type":"{type}"}}'
    await node._link.send(frame.encode())


@pytest.mark.parametrize("output", BAD, ids=range(len(BAD)))
async def test_an_output_that_no_client_can_read_fails_its_task(world: World, output: str) -> None:
    """It ends as `invalid_output`, is acknowledged, and costs no other task anything."""
    node = await world.node()
    other, task = await world.submit(), await world.submit()
    first, order = await node.expect(Assign), await node.expect(Assign)
    await says(node, order, "result", 1, f'"output":{output}')
    assert (await node.expect(Committed)).task == task
    await failed(world, task, "invalid_output")
    await node.finish(first)
    assert (await node.expect(Committed)).task == other


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("type", ["chunk", "metric"])
async def test_an_event_that_no_client_can_read_fails_its_task(world: World, type: str, data: str) -> None:
    """Readers get what came before and the end; the node is told to stop, and goes on with the rest."""
    node = await world.node()
    task = await world.submit()
    heard = await world.follow(task)
    order = await node.expect(Assign)
    await node.chunk(order, 2)
    await says(node, order, type, 3, f'"data":{{"text":"x","x":{data}}}')
    assert (await node.expect(Cancel)).task == task
    await failed(world, task, "invalid_output")
    await until(lambda: heard.events and heard.events[-1].final)
    assert [id for id in heard.ids if id >= "1-2"] == ["1-2", "1-3"]
    assert node.connected


async def test_a_frame_of_nobody_ends_the_connection(world: World) -> None:
    """Where no task is named, there is nothing to end but the conversation."""
    node = await world.node()
    assert node._link is not None
    await node._link.send(b'{"type":"heartbeat","load":NaN}')
    assert (await node.hung_up()).code == 1002


@pytest.mark.parametrize("snapshot", [False, True], ids=["chunks", "snapshot"])
async def test_a_model_that_does_not_stop_talking_is_stopped(world: World, *, snapshot: bool) -> None:
    """The text of one running task is bounded like an output, and only its text: short pieces count as such."""
    world.gateway.gate._attempts._most = MOST
    node = await world.node()
    quiet, loud = await world.submit(), await world.submit()
    heard = await world.follow(quiet)
    orders = {order.task: order for order in (await node.expect(Assign), await node.expect(Assign))}
    for seq in range(2, 2002):
        await node.chunk(orders[quiet], seq, "0123456789")
    if snapshot:
        text = "x" * (MOST + 1)
        await node.say(Snapshot(loud, 1, 9, text))
    else:
        for seq in range(2, 8):
            await node.chunk(orders[loud], seq, "x" * 10_000)
    assert (await node.expect(Cancel)).task == loud
    await failed(world, loud, "output_too_large")
    assert (await world.truth.task(loud))["completion_tokens"] == (0 if snapshot else 6)
    await until(lambda: "1-2001" in heard.ids)
    await node.finish(orders[quiet], seq=2001)
    await world.reaches(quiet, "completed")
    assert sum(len(text_of(event)) for event in heard.events if event.type is EventType.CHUNK) == 20_000


@pytest.mark.parametrize(
    "usage",
    [Usage(-5, 1, 1.0), Usage(1, -5, 1.0), Usage(1, 1, -1.0), Usage(1, 1, 1e300), Usage(2**40, 1, 1.0)],
)
async def test_figures_that_cannot_be_are_not_believed(world: World, usage: Usage) -> None:
    """The output stands; what it cost is then what the gateway has seen itself: a token a chunk, and the time."""
    node = await world.node()
    task = await world.submit()
    order = await node.expect(Assign)
    await node.chunk(order, 2)
    await node.say(Result(order.task, order.attempt, 2, msgspec.Raw(b'"ok"'), usage))
    await node.expect(Committed)
    row = await world.truth.task(task)
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"]) == ("completed", 0, 1)
    assert 0 <= row["compute_seconds"] < 3600


@pytest.mark.parametrize("seq", [-5, 0, 1])
async def test_no_end_comes_before_what_was_seen(world: World, seq: int) -> None:
    """R21: a node that has lost count cannot number the end of a task below its readers' last event."""
    node = await world.node()
    task = await world.submit()
    heard = await world.follow(task)
    order = await node.expect(Assign)
    await node.chunk(order, 2)
    await node.finish(order, seq=seq)
    await node.expect(Committed)
    await until(lambda: heard.events and heard.events[-1].final)
    assert heard.ids[-1] == "1-3"
