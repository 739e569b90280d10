"""Chat and text generation: SmolLM2-135M-Instruct on llama.cpp, one child process for each slot."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from neurogrid.protocol.messages import ModelSpec, Usage
from neurogrid.runners import weights
from neurogrid.runners.base import Emit, ModelUnavailable, Output
from neurogrid.runners.llama_process import LlamaProcess
from neurogrid.runners.processor import require_avx2
from neurogrid.runners.schema import Closed, read, schema_of

CONTEXT = 4096
"""Tokens of prompt and answer together; 250 MB of memory a slot."""
_MAX_CHARACTERS = 65_536


class ChatMessage(Closed, frozen=True):
    """One turn of a conversation."""

    role: Annotated[Literal["system", "user", "assistant"], Meta(description="Who speaks.")]
    content: Annotated[str, Meta(max_length=_MAX_CHARACTERS, description="What is said.")]


class Chat(Closed, frozen=True):
    """A conversation."""

    messages: Annotated[
        list[ChatMessage], Meta(min_length=1, max_length=256, description="The conversation so far.")
    ]


Prompt = Annotated[
    str, Meta(min_length=1, max_length=_MAX_CHARACTERS, description="A prompt, or a conversation.")
]
GenerationInput = Prompt | Chat
StopText = Annotated[str, Meta(min_length=1, max_length=100)]


class GenerationParameters(Closed, frozen=True):
    """How to generate."""

    max_tokens: Annotated[int, Meta(ge=1, le=CONTEXT, description="Longest answer, in tokens.")] = 256
    temperature: Annotated[
        float,
        Meta(
            ge=0, le=2, description="0, the default, always takes the likeliest token: equal in, equal out."
        ),
    ] = 0.0
    top_p: Annotated[
        float, Meta(gt=0, le=1, description="Sample among the likeliest tokens of this total probability.")
    ] = 1.0
    stop: (
        StopText
        | Annotated[list[StopText], Meta(max_length=4, description="Texts before which the answer ends.")]
        | None
    ) = None
    seed: (
        Annotated[int, Meta(ge=0, le=2**32 - 2, description="Makes a temperature above 0 repeatable.")] | None
    ) = None


class SmolLM2:
    """Output ``{"text": …, "finish_reason": "stop" | "length"}``; the chunks ``{"text": …}`` joined are the text.

    The chat template of the model is applied to conversations and prompts alike, a prompt being one
    message of the user. A demonstration: 135 million parameters know how to speak, not what is true.
    """

    def __init__(self, models_dir: Path | None = None, *, slots: int = 1, threads: int = 1) -> None:
        self.spec = ModelSpec(
            name="smollm2-135m",
            version=f"q4_1-{weights.SMOLLM2.sha256[:8]}",
            kind="text-generation",
            description="Chat and text with SmolLM2-135M-Instruct, a small model of demonstration quality.",
            input_schema=schema_of(GenerationInput),
            parameters_schema=schema_of(GenerationParameters),
            example_input="Name three uses of a paper clip.",
            slots=slots,
            deterministic=True,
            streams=True,
        )
        self._models_dir = models_dir
        self._threads = threads
        self._processes: list[LlamaProcess] = []
        self._idle: asyncio.LifoQueue[LlamaProcess] = asyncio.LifoQueue()

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that live."""
        return [process.pid for process in self._processes if process.pid is not None]

    async def load(self) -> None:
        """Start the children."""
        require_avx2(self.spec.name)
        if importlib.util.find_spec("xllamacpp") is None:
            msg = "the package xllamacpp is not installed: pip install 'neurogrid[models]'"
            raise ModelUnavailable(msg)
        path = weights.find(weights.SMOLLM2, self._models_dir)
        self._processes = [
            LlamaProcess(path, context=CONTEXT, threads=self._threads) for _ in range(self.spec.slots)
        ]
        for process in self._processes:
            await process.start()
            self._idle.put_nowait(process)

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Generate, emitting each piece of text."""
        body = _chat_completion(
            read(input, GenerationInput),
            read(parameters, GenerationParameters),
        )
        pieces: list[str] = []

        async def on_text(text: str) -> None:
            pieces.append(text)
            await emit.chunk({"text": text})

        process = await self._idle.get()
        try:
            done = await process.generate(body, on_text, emit.alive)
        finally:
            self._idle.put_nowait(process)
        return Output(
            {"text": "".join(pieces), "finish_reason": done.reason},
            Usage(prompt_tokens=done.prompt_tokens, completion_tokens=done.completion_tokens),
        )

    async def close(self) -> None:
        """Kill the children."""
        await asyncio.gather(*(process.close() for process in self._processes))


def _chat_completion(content: str | Chat, parameters: GenerationParameters) -> dict[str, Any]:
    messages: list[Any] = (
        [{"role": "user", "content": content}]
        if isinstance(content, str)
        else msgspec.to_builtins(content.messages)
    )
    body: dict[str, Any] = {
        "messages": messages,
        "max_tokens": parameters.max_tokens,
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        "stop": [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop or [],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        # A prompt taken partly from the cache goes through other kernels and rounds differently.
        "cache_prompt": False,
    }
    if parameters.seed is not None:
        body["seed"] = parameters.seed
    return body
