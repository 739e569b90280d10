"""SmolLM2 generates, stops when told, and takes no node with it when it crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import pytest
import pytest_asyncio

from neurogrid.runners import llama_process, weights
from neurogrid.runners.base import ModelUnavailable, TaskError
from neurogrid.runners.llama_process import LlamaProcess
from neurogrid.runners.text_generation import SmolLM2
from tests.support.node import RecordedEmit
from tests.support.until import until, until_blocking

pytestmark = pytest.mark.models
module_loop = pytest.mark.asyncio(loop_scope="module")

PROMPT = "Count from one to one hundred in words."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[SmolLM2]:
    """The model, loaded once for the file."""
    model = SmolLM2()
    await model.load()
    yield model
    await model.close()


@module_loop
async def test_chunks_joined_are_the_output(model: SmolLM2) -> None:
    """Text comes in pieces, together the output's text; usage counts what the model counted."""
    emit = RecordedEmit()
    output = await model.run("Name three uses of a paper clip.", {"max_tokens": 16}, emit)
    assert output.value == {"text": emit.text, "finish_reason": "length"}
    assert len(emit.chunks) > 4
    assert output.usage.completion_tokens == 16
    assert output.usage.prompt_tokens > 10


@module_loop
async def test_prompt_is_one_message_of_the_user(model: SmolLM2) -> None:
    """A prompt and the same words as a conversation give the same answer, every time."""
    chat = {"messages": [{"role": "user", "content": "Say hello."}]}
    answers = [
        (await model.run(input, {"max_tokens": 12}, RecordedEmit())).value
        for input in ("Say hello.", chat, "Say hello.")
    ]
    assert answers[0] == answers[1] == answers[2]


@module_loop
async def test_system_message_matters(model: SmolLM2) -> None:
    """The conversation's system message reaches the model."""
    turns = [{"role": "system", "content": "Answer in French only."}, {"role": "user", "content": "Hello!"}]
    plain = await model.run("Hello!", {"max_tokens": 12}, RecordedEmit())
    french = await model.run({"messages": turns}, {"max_tokens": 12}, RecordedEmit())
    assert french.value != plain.value


@module_loop
async def test_stop_and_seed(model: SmolLM2) -> None:
    """Generation ends before a stop text; a seed makes sampling repeatable."""
    stopped = await model.run("Count: one, two, three", {"stop": "two"}, RecordedEmit())
    assert stopped.value["finish_reason"] == "stop"
    assert "two" not in stopped.value["text"]
    sampled = {"temperature": 1.0, "seed": 7, "max_tokens": 12, "top_p": 0.9}
    first, second = [await model.run("Tell a joke.", sampled, RecordedEmit()) for _ in range(2)]
    assert first.value == second.value


@module_loop
async def test_prompt_beyond_the_context_is_a_final_error(model: SmolLM2) -> None:
    """The owner reads how long the prompt may be, and no attempt is wasted."""
    with pytest.raises(TaskError, match="4096") as caught:
        await model.run("word " * 5000, {}, RecordedEmit())
    assert caught.value.code == "context_exceeded"
    assert not caught.value.retryable


@module_loop
async def test_cancel_stops_generating(model: SmolLM2) -> None:
    """A cancelled run ends at once, in the same process, which serves the next task."""
    pids = model.pids
    emit = RecordedEmit()
    run = asyncio.create_task(model.run(PROMPT, {"max_tokens": 4000}, emit))
    await emit.spoke.wait()
    run.cancel()
    await asyncio.wait({run})
    assert run.cancelled()
    said = len(emit.chunks)
    output = await model.run("Say hello.", {"max_tokens": 3}, RecordedEmit())
    assert output.usage.completion_tokens == 3
    assert len(emit.chunks) == said
    assert model.pids == pids


@module_loop
async def test_cancel_while_reading_a_long_prompt(model: SmolLM2) -> None:
    """A long prompt gives signs of life while it is read, and cancelling does not wait for its end."""
    pids = model.pids
    emit = RecordedEmit()
    run = asyncio.create_task(model.run("word " * 3500, {}, emit))
    await until(lambda: emit.signs_of_life >= 2)
    run.cancel()
    await asyncio.wait({run})
    assert emit.chunks == []
    assert (await model.run("Hi", {"max_tokens": 1}, RecordedEmit())).usage.completion_tokens == 1
    assert model.pids == pids


@module_loop
async def test_failing_reader_stops_generating(model: SmolLM2) -> None:
    """When a chunk cannot be passed on, the child is stopped too and stays in step."""

    class Deaf(RecordedEmit):
        async def chunk(self, data: object) -> None:
            raise TaskError("deaf", "cannot hear")

    with pytest.raises(TaskError, match="cannot hear"):
        await model.run(PROMPT, {"max_tokens": 500}, Deaf())
    emit = RecordedEmit()
    output = await model.run("Say hello.", {"max_tokens": 5}, emit)
    assert output.value["text"] == emit.text


@module_loop
async def test_crash_costs_one_attempt(model: SmolLM2) -> None:
    """A child that dies fails its task retryably, and the next task gets a new child."""
    emit = RecordedEmit()
    run = asyncio.create_task(model.run(PROMPT, {"max_tokens": 4000}, emit))
    await emit.spoke.wait()
    (pid,) = model.pids
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(TaskError, match="SIGSEGV") as caught:
        await run
    assert (caught.value.code, caught.value.retryable) == ("model_crashed", True)
    await model.run("Say hello.", {"max_tokens": 2}, RecordedEmit())
    assert model.pids != [pid]


@module_loop
async def test_crash_between_tasks_goes_unnoticed(model: SmolLM2) -> None:
    """A child that died while idle is replaced before the next task."""
    (pid,) = model.pids
    os.kill(pid, signal.SIGKILL)
    await until(lambda: model.pids == [])
    await model.run("Say hello.", {"max_tokens": 2}, RecordedEmit())
    assert model.pids != [pid]


@module_loop
async def test_terminal_signals_do_not_reach_the_model(model: SmolLM2) -> None:
    """Ctrl-C and a group's SIGTERM are the node's to deal with: what runs may finish."""
    emit = RecordedEmit()
    run = asyncio.create_task(model.run(PROMPT, {"max_tokens": 8}, emit))
    await emit.spoke.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(model.pids[0], number)
    assert (await run).usage.completion_tokens == 8


@module_loop
async def test_two_slots_are_two_processes() -> None:
    """Concurrent tasks up to the slots run side by side."""
    model = SmolLM2(slots=2)
    await model.load()
    try:
        assert len(set(model.pids)) == 2
        emits = [RecordedEmit(), RecordedEmit()]
        runs = [asyncio.create_task(model.run(PROMPT, {"max_tokens": 200}, emit)) for emit in emits]
        await asyncio.gather(*(emit.spoke.wait() for emit in emits))
        assert not any(run.done() for run in runs)
        for run in runs:
            run.cancel()
        await asyncio.wait(runs)
    finally:
        await model.close()
    assert model.pids == []


@module_loop
async def test_broken_weights_make_the_model_unavailable(tmp_path: Path) -> None:
    """Weights that llama.cpp refuses are a reason, not a crash."""
    (tmp_path / "weights.gguf").write_bytes(b"no weights")
    with pytest.raises(ModelUnavailable):
        await LlamaProcess(tmp_path / "weights.gguf", context=512, threads=1).start()


@module_loop
async def test_crash_while_loading_makes_the_model_unavailable(
    model: SmolLM2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that this processor cannot run dies at once: the reason says so."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -ILL $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ModelUnavailable, match=r"SIGILL.*instructions"):
        await LlamaProcess(tmp_path / "weights.gguf", context=512, threads=1).start()


@module_loop
async def test_child_that_does_not_stop_is_killed(model: SmolLM2, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung engine does not keep its slot once its task is cancelled."""
    monkeypatch.setattr(llama_process, "_STOP_TIMEOUT", 0.1)
    emit = RecordedEmit()
    run = asyncio.create_task(model.run(PROMPT, {"max_tokens": 4000}, emit))
    await emit.spoke.wait()
    (pid,) = model.pids
    os.kill(pid, signal.SIGSTOP)
    run.cancel()
    await asyncio.wait({run})
    assert run.cancelled()
    await model.run("Say hello.", {"max_tokens": 2}, RecordedEmit())
    assert model.pids != [pid]


PARENT = """
import asyncio, socket
from neurogrid.runners.text_generation import SmolLM2
async def main():
    model = SmolLM2()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    await model.load()
    print("child", *model.pids, listener.getsockname()[1], flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
def test_child_dies_with_its_killed_parent_and_inherits_no_socket() -> None:
    """A node ended by kill -9 leaves no process behind, and the child holds none of the node's sockets."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port = (int(word) for word in _line(parent.stdout, "child").split()[1:])
        assert _alive(pid)
        assert port not in _listening_ports(pid)
        parent.kill()
    until_blocking(lambda: not _alive(pid))


def _line(stream: IO[str], start: str) -> str:
    return next(line for line in stream if line.startswith(start))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@module_loop
async def test_port_of_the_engine_is_locked(model: SmolLM2) -> None:
    """The port llama.cpp opens on 127.0.0.1 answers nobody who lacks the random key."""
    listening = _listening_ports(model.pids[0])
    assert listening, "without a port this test and the key are to go"
    for port in listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/completions HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        assert b" 401 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


def _listening_ports(pid: int) -> list[int]:
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("socket:"):
            sockets.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in sockets]


def test_weights_are_the_published_ones() -> None:
    """The size by which a damaged file is told apart belongs to the published checksum."""
    path = weights.find(weights.SMOLLM2, None)
    assert path.stat().st_size == weights.SMOLLM2.size
    assert weights._sha256(path) == weights.SMOLLM2.sha256
