"""e5-small embeds, and concurrent tasks share the work."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from neurogrid.runners.base import Output
from neurogrid.runners.embeddings import Embeddings
from tests.support.node import RecordedEmit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.models]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[Embeddings]:
    """The model, loaded once for the file."""
    model = Embeddings()
    await model.load()
    yield model
    await model.close()


def _vectors(output: Output) -> list[list[float]]:
    assert isinstance(output.value, msgspec.Raw)
    value: dict[str, Any] = json.loads(bytes(output.value))
    assert value["dimensions"] == 384
    vectors: list[list[float]] = value["embeddings"]
    assert all(len(vector) == 384 for vector in vectors)
    return vectors


def _cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_meaning_is_near_across_languages(model: Embeddings) -> None:
    """Equal meanings lie nearer than different ones; vectors have length 1."""
    texts = ["How do I open the window?", "Wie öffne ich das Fenster?", "The stock market fell sharply."]
    output = await model.run(texts, {}, RecordedEmit())
    english, german, other = _vectors(output)
    assert _cosine(english, german) > _cosine(english, other)
    assert math.isclose(_cosine(english, english), 1, rel_tol=1e-3)
    assert output.usage.prompt_tokens > 3 * 5


async def test_one_text_is_a_list_of_one(model: Embeddings) -> None:
    """A single text gives the vector it gives in a list; a passage gives another than a query."""
    single = _vectors(await model.run("hello", {}, RecordedEmit()))
    listed = _vectors(await model.run(["hello"], {"input_type": "query"}, RecordedEmit()))
    passage = _vectors(await model.run("hello", {"input_type": "passage"}, RecordedEmit()))
    assert single == listed
    assert single != passage


async def test_concurrent_tasks_share_native_calls(model: Embeddings) -> None:
    """16 tasks at once need fewer native calls than tasks, and each gets what it gets alone."""
    texts = [f"text number {number}" for number in range(16)]
    before = model.batcher.calls
    together = await asyncio.gather(*(model.run(text, {}, RecordedEmit()) for text in texts))
    assert model.batcher.calls - before <= 4
    alone = await model.run(texts[7], {}, RecordedEmit())
    assert _cosine(_vectors(together[7])[0], _vectors(alone)[0]) > 0.9999


async def test_cancelled_task_leaves_the_others(model: Embeddings) -> None:
    """Cancelling a task takes its waiting texts back and disturbs nobody."""
    long = asyncio.create_task(
        model.run([f"a longer text, number {n}" for n in range(200)], {}, RecordedEmit())
    )
    short = asyncio.create_task(model.run("short", {}, RecordedEmit()))
    await asyncio.sleep(0)
    before = model.batcher.calls
    long.cancel()
    assert len(_vectors(await short)) == 1
    assert model.batcher.calls - before <= 3
    assert long.cancelled()
