"""A node does what its gateway says, loses nothing, and says nothing it was told to keep quiet about."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from neurogrid.agent import attempt as attempt_module
from neurogrid.protocol.messages import (
    Cancel,
    Chunk,
    Committed,
    Error,
    Log,
    Metric,
    Refuse,
    Release,
    Result,
    TaskProgress,
    Usage,
)
from neurogrid.runners.base import Emit, Output, TaskError
from tests.support.node import Gateway, Puppet, serving, speaker
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def test_hello_says_what_the_node_serves() -> None:
    """Name, models, slots and labels, and that there was no session before."""
    gateway, puppet = Gateway(), Puppet()
    async with serving(gateway, [puppet], 3, labels={"zone": "a"}) as agent:
        hello = await gateway.greet()
        await until(agent.connected.is_set)
    assert (hello.name, hello.version, hello.slots, hello.labels) == ("node", "1.0", 3, {"zone": "a"})
    assert hello.models == [puppet.spec]
    assert hello.session is None


async def test_task_runs_from_assign_to_commit() -> None:
    """Chunks are numbered from 2, the result follows them, and a confirmed result is forgotten."""
    gateway, puppet = Gateway(), Puppet()
    puppet.act = speaker("Hel", "lo")
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t", 2)
        first, second, result = [await gateway.receive() for _ in range(3)]
        assert isinstance(first, Chunk)
        assert (first.task, first.attempt, first.seq, bytes(first.data)) == ("t", 2, 2, b'{"text":"Hel"}')
        assert isinstance(second, Chunk)
        assert second.seq == 3
        assert isinstance(result, Result)
        assert (result.attempt, result.seq, bytes(result.output)) == (2, 3, b'{"text":"Hello"}')
        assert result.usage.compute_seconds > 0
        await gateway.say(Committed("t", 2))
        await gateway.hang_up()
        hello = await gateway.greet()
        assert not hello.done
        assert not hello.running
        assert hello.session == "s1"


async def test_usage_of_the_model_is_passed_on() -> None:
    """Tokens are the model's, compute time is measured."""

    class Counting(Puppet):
        async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
            return Output("x", Usage(prompt_tokens=3, completion_tokens=4))

    gateway = Gateway()
    async with serving(gateway, [Counting()]):
        await gateway.greet()
        await gateway.assign("t")
        usage = (await gateway.expect(Result)).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 4)


@pytest.mark.parametrize("order", [Cancel("t", 1), Release("t", 1)], ids=["cancel", "release"])
async def test_cancel_stops_the_run_and_frees_its_slot(order: Any) -> None:
    """The run is cancelled, nothing more is said about it, and the slot serves the next task."""
    gateway, puppet = Gateway(), Puppet(slots=1)
    async with serving(gateway, [puppet], 1):
        await gateway.greet()
        await gateway.assign("t")
        await until(lambda: puppet.running)
        await gateway.say(order)
        await gateway.assign("u")
        puppet.go.set()
        message = await gateway.receive()
        assert isinstance(message, Result)
        assert message.task == "u"
        assert puppet.cancelled == 1


async def test_cancel_of_a_finished_task_forgets_its_result() -> None:
    """A released attempt is not presented again."""
    gateway, puppet = Gateway(), Puppet()
    puppet.go.set()
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t")
        await gateway.expect(Result)
        await gateway.say(Release("t", 1))
        await gateway.hang_up()
        assert (await gateway.greet()).done == []


async def test_slots_bound_what_runs_at_once() -> None:
    """Neither the node's slots nor the model's are exceeded, and what is far beyond them is refused."""
    gateway, puppet, narrow = Gateway(), Puppet(slots=8), Puppet("narrow", slots=1)
    async with serving(gateway, [puppet, narrow], 2):
        await gateway.greet()
        for number in range(2):
            await gateway.assign(f"n{number}", model="narrow")
        for number in range(2):
            await gateway.assign(f"t{number}")
        await until(lambda: puppet.running)
        await gateway.assign("too much")
        refusal = await gateway.expect(Refuse)
        assert (refusal.task, refusal.reason) == ("too much", "busy")
        narrow.go.set()
        puppet.go.set()
        assert {(await gateway.expect(Result)).task for _ in range(4)} == {"n0", "n1", "t0", "t1"}
    assert narrow.most_running == 1
    assert puppet.most_running <= 2


async def test_unknown_model_is_refused() -> None:
    """A task for a model the node does not serve goes back uncharged."""
    gateway = Gateway()
    async with serving(gateway, [Puppet()]):
        await gateway.greet()
        await gateway.assign("t", model="gpt-9")
        assert await gateway.expect(Refuse) == Refuse("t", 1, "unknown model")


async def test_same_assign_twice_runs_once() -> None:
    """A repeated assign starts nothing anew; after the end it is answered with the same result."""
    gateway, puppet = Gateway(), Puppet()
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t")
        await gateway.assign("t")
        puppet.go.set()
        result = await gateway.expect(Result)
        await gateway.assign("t")
        assert await gateway.expect(Result) == result
    assert puppet.started == 1


async def test_later_attempt_ends_the_earlier() -> None:
    """Two attempts at one task never run side by side on a node."""
    gateway, puppet = Gateway(), Puppet()
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t", 1)
        await until(lambda: puppet.running)
        await gateway.assign("t", 3)
        await until(lambda: puppet.cancelled)
        puppet.go.set()
        assert (await gateway.expect(Result)).attempt == 3


async def test_time_out_is_an_error_of_its_own() -> None:
    """A run over its time is stopped, and may be tried again."""
    gateway, puppet = Gateway(), Puppet()
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t", timeout_s=0.05)
        error = await gateway.expect(Error)
    assert (error.error.code, error.retryable) == ("timeout", True)
    assert puppet.cancelled == 1


def _raiser(error: BaseException) -> Any:
    async def act(input: Any, emit: Emit) -> Any:
        await emit.chunk({"text": "so far"})
        raise error

    return act


@pytest.mark.parametrize(
    ("raised", "code", "message", "retryable"),
    [
        (TaskError("too_long", "Shorten it."), "too_long", "Shorten it.", False),
        (TaskError("crashed", "Again.", retryable=True), "crashed", "Again.", True),
        (KeyError("x"), "model_error", "KeyError: 'x'", True),
        (TimeoutError("upstream"), "model_error", "TimeoutError: upstream", True),
        (asyncio.CancelledError(), "model_error", "the model cancelled itself", True),
    ],
)
async def test_errors_of_models_become_errors_of_tasks(
    raised: BaseException, code: str, message: str, *, retryable: bool
) -> None:
    """Whatever a model raises, its task fails with a code and a sentence, and the node goes on."""
    gateway, puppet = Gateway(), Puppet()
    puppet.act = _raiser(raised)
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t")
        error = await gateway.expect(Error)
        assert (error.error.code, error.error.message, error.retryable) == (code, message, retryable)
        assert error.seq == 2
        puppet.act = speaker("fine")
        await gateway.assign("u")
        await gateway.expect(Result)


@pytest.mark.parametrize("value", [float("nan"), object()], ids=["nan", "object"])
async def test_what_is_not_json_is_a_final_error(value: Any) -> None:
    """A model that returns no JSON would return none the next time either."""
    gateway, puppet = Gateway(), Puppet()

    async def act(input: Any, emit: Emit) -> Any:
        return value

    puppet.act = act
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t")
        error = await gateway.expect(Error)
    assert (error.error.code, error.retryable) == ("invalid_output", False)


async def test_a_model_that_does_not_stop_talking_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of the chunks is bounded like an output; past that, the task fails for good."""
    monkeypatch.setattr(attempt_module, "MAX_OUTPUT", 10)
    gateway, puppet = Gateway(), Puppet()
    puppet.act = speaker("12345", "äöx", "")
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("fits")
        assert (await gateway.expect(Result)).task == "fits"
        puppet.act = speaker(*["12345"] * 1000)
        await gateway.assign("endless")
        error = await gateway.expect(Error)
    assert (error.task, error.error.code, error.retryable) == ("endless", "output_too_large", False)
    assert error.seq == 3


async def test_every_kind_of_event_travels() -> None:
    """Progress, metrics and log lines are numbered like chunks and keep their data."""
    gateway, puppet = Gateway(), Puppet()

    async def act(input: Any, emit: Emit) -> Any:
        await emit.progress(1, 4, "loading")
        await emit.metric(loss=0.5)
        await emit.log("watch out", "warning")
        await emit.chunk([1, 2])
        return emit.attempt

    puppet.act = act
    async with serving(gateway, [puppet]):
        await gateway.greet()
        await gateway.assign("t", 7)
        events = [await gateway.receive() for _ in range(5)]
    assert [type(event) for event in events] == [TaskProgress, Metric, Log, Chunk, Result]
    raw = [bytes(event.data) for event in events if isinstance(event, TaskProgress | Metric | Log | Chunk)]
    assert raw == [
        b'{"done":1,"total":4,"message":"loading"}',
        b'{"loss":0.5}',
        b'{"level":"warning","message":"watch out"}',
        b"[1,2]",
    ]
    assert isinstance(events[-1], Result)
    assert (events[-1].seq, bytes(events[-1].output)) == (5, b"7")


async def test_garbage_and_news_are_survived() -> None:
    """Frames that are no messages, and messages of a later release, change nothing."""
    gateway, puppet = Gateway(), Puppet()
    puppet.go.set()
    async with serving(gateway, [puppet]):
        await gateway.greet()
        for frame in (b"{", b'{"type":"assign"}', b'{"type":"sing","song":"la"}'):
            await gateway.send_raw(frame)
        await gateway.assign("t")
        await gateway.expect(Result)
    assert gateway.connections == 1


async def test_heartbeat_lists_tasks_that_gave_a_sign_of_life() -> None:
    """A silent task is left out, so that the gateway can tell a hung model (R5)."""
    gateway, puppet = Gateway(), Puppet()
    speak = asyncio.Event()

    async def act(input: Any, emit: Emit) -> Any:
        while True:
            await speak.wait()
            speak.clear()
            emit.alive()

    puppet.act = act
    async with serving(gateway, [puppet]):
        await gateway.greet(heartbeat_s=0.02)
        await gateway.assign("t")
        while (await gateway.heartbeat()).progress != [("t", 1, 1)]:
            pass
        while (beat := await gateway.heartbeat()).progress:
            pass
        assert beat.memory > 0
        speak.set()
        while (await gateway.heartbeat()).progress != [("t", 1, 1)]:
            pass
