"""Connections come and go, are slow or refuse the node; nothing that it has to say is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from neurogrid.agent import agent as agent_module
from neurogrid.agent.agent import Agent
from neurogrid.agent.attempt import MAX_UNSENT_EVENTS
from neurogrid.agent.connect import NodeRefused
from neurogrid.agent.events import EventLog
from neurogrid.protocol.frames import encode, pack, read_from_node
from neurogrid.protocol.link import CLOSE_PROTOCOL, IN_PROCESS_BUFFER, Link
from neurogrid.protocol.messages import (
    Chunk,
    Committed,
    FromNode,
    Refused,
    Resend,
    Result,
    Snapshot,
)
from neurogrid.runners.base import Emit
from tests.support.node import Gateway, Puppet, order, serving, speaker
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def spoken(gateway: Gateway, results: int) -> list[list[FromNode]]:
    """Return what the node says, frame by frame, until that many results came."""
    frames: list[list[FromNode]] = []
    while sum(isinstance(message, Result) for frame in frames for message in frame) < results:
        frames.append(read_from_node(await gateway.receive_raw()))
    return frames


async def test_what_is_said_at_once_travels_at_once() -> None:
    """A gateway that reads arrays gets in one frame what there is to say; each attempt's messages in order."""
    gateway, puppet = Gateway(), Puppet()
    puppet.act = speaker("Hel", "lo")
    async with serving(gateway, [puppet], 4):
        await gateway.greet(arrays=True)
        await gateway.send_raw(next(pack(map(encode, [order(f"t{n}") for n in range(4)]))))
        frames = await spoken(gateway, 4)
    assert max(map(len, frames)) > 4
    said = [message for frame in frames for message in frame if isinstance(message, Chunk | Result)]
    for n in range(4):
        kinds = [(type(one), one.seq) for one in said if one.task == f"t{n}"]
        assert kinds == [(Chunk, 2), (Chunk, 3), (Result, 3)]


async def test_who_could_not_read_an_array_gets_single_messages() -> None:
    """A gateway finds the message it cannot read when it comes by itself."""
    gateway, puppet = Gateway(), Puppet()
    puppet.go.set()
    async with serving(gateway, [puppet], 4):
        await gateway.greet(arrays=True)
        await gateway.hang_up(CLOSE_PROTOCOL)
        await gateway.greet(arrays=True)
        await gateway.send_raw(next(pack(map(encode, [order(f"t{n}") for n in range(4)]))))
        frames = await spoken(gateway, 4)
    assert max(map(len, frames)) == 1


@pytest.mark.parametrize("answer", [Committed("t", 1), Refused("t", 1)], ids=["committed", "refused"])
async def test_unconfirmed_result_is_presented_on_reconnect(answer: Any) -> None:
    """A result stays until a gateway, any gateway, has dealt with it (R6)."""
    gateway, puppet = Gateway(), Puppet()
    puppet.go.set()
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t")
        result = await gateway.expect(Result)
        for _ in range(2):
            await gateway.hang_up()
            assert (await gateway.greet()).done == [result]
        await gateway.say(answer)
        await gateway.hang_up()
        assert (await gateway.greet()).done == []


async def test_work_goes_on_without_a_connection() -> None:
    """What is emitted meanwhile follows on the next connection, in order, and then the result."""
    gateway, puppet = Gateway(), Puppet()
    second = asyncio.Event()

    async def act(input: Any, emit: Emit) -> Any:
        await emit.chunk({"text": "a"})
        await second.wait()
        await emit.chunk({"text": "b"})
        await puppet.go.wait()
        return "ab"

    puppet.act = act
    async with serving(gateway, [puppet]) as agent:
        await gateway.greet()
        await gateway.assign("t")
        assert (await gateway.expect(Chunk)).seq == 2
        await gateway.hang_up()
        await until(lambda: not agent.connected.is_set())
        second.set()
        hello = await gateway.greet()
        assert hello.running == [("t", 1, 2)]
        assert (await gateway.expect(Chunk)).seq == 3
        puppet.go.set()
        assert (await gateway.expect(Result)).seq == 3


async def test_resend_repeats_events_in_order() -> None:
    """A gateway that misses events gets them again from where it asks, running or finished."""
    gateway, puppet = Gateway(), Puppet()
    puppet.act = speaker("a", "b", "c", then=puppet.go)
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t")
        assert [(await gateway.expect(Chunk)).seq for _ in range(3)] == [2, 3, 4]
        await gateway.say(Resend("t", 1, 3))
        assert [(await gateway.expect(Chunk)).seq for _ in range(2)] == [3, 4]
        puppet.go.set()
        await gateway.expect(Result)
        await gateway.say(Resend("t", 1))
        assert [(await gateway.expect(Chunk)).seq for _ in range(3)] == [2, 3, 4]


async def test_folded_events_are_resent_as_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disconnected run emits without end; the next gateway gets the text so far, then what follows."""
    monkeypatch.setattr(EventLog.__init__, "__kwdefaults__", {"max_events": 16, "max_bytes": 1 << 20})
    gateway, puppet = Gateway(), Puppet()
    lost = asyncio.Event()

    async def act(input: Any, emit: Emit) -> Any:
        await lost.wait()
        for number in range(MAX_UNSENT_EVENTS * 2):
            await emit.chunk({"text": f"{number} "})
        return "done"

    puppet.act = act
    async with serving(gateway, [puppet]) as agent:
        await gateway.greet()
        await gateway.assign("t")
        await until(lambda: puppet.started)
        await gateway.hang_up()
        await until(lambda: not agent.connected.is_set())
        lost.set()
        await until(lambda: not puppet.running)
        await gateway.greet()
        await gateway.say(Resend("t", 1))
        snapshot = await gateway.expect(Snapshot)
        assert snapshot.text.startswith("0 1 2 ")
        assert (await gateway.expect(Chunk)).seq == snapshot.seq + 1


async def test_fast_model_waits_for_a_slow_connection() -> None:
    """A run gets no further ahead than the link's buffer and its own bound; nothing is lost by waiting."""
    gateway, puppet = Gateway(), Puppet()
    count = IN_PROCESS_BUFFER * 2
    emitted = 0

    async def act(input: Any, emit: Emit) -> Any:
        nonlocal emitted
        for _ in range(count):
            await emit.chunk({"text": "."})
            emitted += 1
        return "done"

    puppet.act = act
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t")
        await until(lambda: emitted > IN_PROCESS_BUFFER)
        for _ in range(100):
            await asyncio.sleep(0)
        assert emitted <= IN_PROCESS_BUFFER + MAX_UNSENT_EVENTS
        seqs = [(await gateway.expect(Chunk)).seq for _ in range(count)]
        assert seqs == list(range(2, count + 2))
        await gateway.expect(Result)


async def test_lost_connection_frees_a_waiting_run() -> None:
    """A run that waits for room goes on when there is no connection to wait for."""
    gateway, puppet = Gateway(), Puppet()
    count = IN_PROCESS_BUFFER * 2
    puppet.act = speaker(*("." for _ in range(count)))
    async with serving(gateway, [puppet]) as agent:
        await gateway.greet()
        await gateway.assign("t")
        await until(lambda: puppet.running)
        await gateway.hang_up()
        await until(lambda: not agent.connected.is_set())
        await until(lambda: not puppet.running)


async def test_refused_token_ends_the_node() -> None:
    """A gateway's refusal is final and gives its reason; another close is not."""
    gateway = Gateway()
    agent = Agent("node", "1", [Puppet()], slots=1, connect=gateway.connect)
    run = asyncio.create_task(agent.run())
    await gateway.greet()
    await gateway.hang_up(1012, "restarting")
    await gateway.greet()
    await gateway.hang_up(4401, "this token was revoked")
    with pytest.raises(NodeRefused, match="revoked"):
        await run


async def test_unreachable_gateway_is_tried_again() -> None:
    """Failures to connect are waited out."""
    gateway, tries = Gateway(), 0

    async def connect() -> Link:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionRefusedError
        return await gateway.connect()

    async with serving(gateway, [Puppet()], connect=connect):
        await gateway.greet()
    assert tries == 3


async def test_large_results_do_not_crowd_the_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results the hello has no room for are announced as running and follow as messages."""
    monkeypatch.setattr(agent_module, "_HELLO_DONE_BYTES", 300)
    gateway, puppet = Gateway(), Puppet()
    puppet.go.set()
    async with serving(gateway, [puppet]):
        await gateway.greet()
        for task in ("a", "b"):
            await gateway.assign(task, input="x" * 150)
            await gateway.expect(Result)
        await gateway.hang_up()
        hello = await gateway.greet()
        assert [done.task for done in hello.done] == ["a"]
        assert hello.running == [("b", 1, 1)]
        assert (await gateway.expect(Result)).task == "b"


async def test_results_survive_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A result spilled to disk is presented like any other."""
    gateway, puppet = Gateway(), Puppet()
    puppet.go.set()
    async with serving(gateway, [puppet], spill_dir=tmp_path) as agent:
        agent._outbox._max_memory = 0
        await gateway.greet()
        await gateway.assign("t", input="kept")
        await gateway.expect(Result)
        assert any(path.is_file() for path in tmp_path.rglob("*"))
        await gateway.hang_up()
        (done,) = (await gateway.greet()).done
        assert isinstance(done, Result)
        assert bytes(done.output) == b'"kept"'
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
