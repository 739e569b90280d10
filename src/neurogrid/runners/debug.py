"""Models that test the grid rather than think. Served only when debug models are asked for.

All but ``debug.recite`` are declared not to be deterministic, so that neither cache nor single-flight hides
the machinery.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import Meta

from neurogrid.protocol.messages import ModelSpec
from neurogrid.runners.base import Emit, Output, TaskError
from neurogrid.runners.schema import Closed, NoParameters, read, schema_of

_BEAT = 1.0
"""Seconds between the signs of life of a sleep that emits less often."""


class _Debug:
    spec: ModelSpec

    async def load(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to let go of."""


class DebugEcho(_Debug):
    """Answers with its input, whatever it is."""

    spec = ModelSpec(
        name="debug.echo",
        version="1",
        kind="debug",
        description="Returns its input.",
        input_schema={"description": "Anything JSON can say; it comes back as the output."},
        parameters_schema=schema_of(NoParameters),
        example_input={"hello": "world"},
        slots=64,
    )

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Return ``input``."""
        return Output(input)


class SleepInput(Closed, frozen=True):
    """How long to sleep and how often to speak."""

    seconds: Annotated[float, Meta(ge=0, le=3600, description="How long the task runs.")]
    chunks: Annotated[
        int, Meta(ge=0, le=10_000, description='Chunks `{"text": "<n> "}` to emit, evenly spread.')
    ] = 0
    silent: Annotated[bool, Meta(description="Give no sign of life, like a model that hangs.")] = False


class DebugSleep(_Debug):
    """Takes a given time and emits a given number of chunks."""

    spec = ModelSpec(
        name="debug.sleep",
        version="1",
        kind="debug",
        description="Sleeps, emitting chunks meanwhile; the output is how long it slept.",
        input_schema=schema_of(SleepInput),
        parameters_schema=schema_of(NoParameters),
        example_input={"seconds": 1.0, "chunks": 10},
        slots=64,
        streams=True,
    )

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Sleep ``seconds``, emitting chunk i at i/chunks of them; returns ``{"slept": seconds}``."""
        order = read(input, SleepInput)
        start = asyncio.get_running_loop().time()
        for number in range(1, order.chunks + 1):
            await _sleep_until(start + order.seconds * number / order.chunks, emit, silent=order.silent)
            await emit.chunk({"text": f"{number} "})
        await _sleep_until(start + order.seconds, emit, silent=order.silent)
        return Output({"slept": order.seconds})


async def _sleep_until(moment: float, emit: Emit, *, silent: bool = False) -> None:
    now = asyncio.get_running_loop().time
    while (left := moment - now()) > 0:
        await asyncio.sleep(left if silent else min(left, _BEAT))
        if not silent:
            emit.alive()


class ReciteInput(Closed, frozen=True):
    """What to recite and how slowly."""

    words: Annotated[int, Meta(ge=0, le=10_000, description="The text is the numbers from 1 to this.")]
    seconds: Annotated[float, Meta(ge=0, le=3600, description="How long that takes.")] = 0.0
    salt: Annotated[str, Meta(max_length=1000, description="Makes another input of the same text.")] = ""


class DebugRecite(_Debug):
    """Says the same text for the same input, word by word, like a text model at temperature 0."""

    spec = ModelSpec(
        name="debug.recite",
        version="1",
        kind="debug",
        description="Recites numbers, a chunk each; deterministic, so that equal tasks may share one execution.",
        input_schema=schema_of(ReciteInput),
        parameters_schema=schema_of(NoParameters),
        example_input={"words": 10, "seconds": 1.0},
        slots=64,
        deterministic=True,
        streams=True,
    )

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Emit ``{"text": "<n> "}`` evenly spread over ``seconds``; returns ``{"text": "1 2 … "}``."""
        order = read(input, ReciteInput)
        start = asyncio.get_running_loop().time()
        words = [f"{number} " for number in range(1, order.words + 1)]
        for number, word in enumerate(words, start=1):
            await _sleep_until(start + order.seconds * number / order.words, emit)
            await emit.chunk({"text": word})
        return Output({"text": "".join(words)})


class FailInput(Closed, frozen=True):
    """How to fail."""

    message: Annotated[str, Meta(max_length=1000, description="The error's message.")] = "failed on request"
    times: Annotated[int, Meta(ge=0, description="Attempts that fail, the first ones; null: all.")] | None = (
        None
    )
    retryable: Annotated[bool, Meta(description="Whether the error may be tried again.")] = True


class DebugFail(_Debug):
    """Fails the first attempts of a task, then succeeds."""

    spec = ModelSpec(
        name="debug.fail",
        version="1",
        kind="debug",
        description="Fails the first `times` attempts of a task.",
        input_schema=schema_of(FailInput),
        parameters_schema=schema_of(NoParameters),
        example_input={"message": "out of luck", "times": 1},
        slots=16,
    )

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Raise ``TaskError`` (``debug_failure``) or return ``{"attempt": n}``."""
        order = read(input, FailInput)
        if order.times is None or emit.attempt <= order.times:
            raise TaskError("debug_failure", order.message, retryable=order.retryable)
        return Output({"attempt": emit.attempt})
