"""Pieces of work that meet share a call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Hashable, Sequence

import pytest
import pytest_asyncio

from neurogrid.runners.batching import Batcher
from tests.support.until import until

pytestmark = pytest.mark.asyncio


class Engine:
    """Upper-cases texts; ``gate`` holds calls back, so that a crowd can gather."""

    def __init__(self) -> None:
        self.calls: list[tuple[Hashable, list[str]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.batcher: Batcher[str] = Batcher(self, max_texts=4, max_characters=20)

    def __call__(self, group: Hashable, texts: Sequence[str]) -> list[str]:
        self.calls.append((group, list(texts)))
        assert self.gate.wait(30)
        if "bad" in texts:
            raise ValueError("bad text")
        return [text.upper() for text in texts]


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    yield engine
    engine.gate.set()
    await engine.batcher.close()


async def test_concurrent_texts_share_calls(engine: Engine) -> None:
    """Texts submitted together go in few calls, each caller getting its own result."""
    results = await asyncio.gather(*(engine.batcher.submit("g", f"t{n}") for n in range(8)))
    assert results == [f"T{n}" for n in range(8)]
    assert [len(texts) for _, texts in engine.calls] == [4, 4]


async def test_groups_do_not_mix(engine: Engine) -> None:
    """A call holds one group; the other's texts keep their order for the next."""
    await asyncio.gather(*(engine.batcher.submit(group, group + str(n)) for n in range(2) for group in "ab"))
    assert engine.calls == [("a", ["a0", "a1"]), ("b", ["b0", "b1"])]


async def test_long_texts_do_not_share(engine: Engine) -> None:
    """A call is bounded in characters, and a text above the bound goes alone."""
    await asyncio.gather(*(engine.batcher.submit("g", size * "x") for size in (15, 15, 50, 5)))
    assert [[len(text) for text in texts] for _, texts in engine.calls] == [[15, 5], [15], [50]]


async def test_cancelled_text_is_left_out(engine: Engine) -> None:
    """A text that nobody waits for any more is not computed."""
    engine.gate.clear()
    first = asyncio.ensure_future(engine.batcher.submit("g", "first"))
    await until(lambda: engine.calls)
    given_up = asyncio.ensure_future(engine.batcher.submit("g", "given up"))
    kept = asyncio.ensure_future(engine.batcher.submit("g", "kept"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait({given_up})
    engine.gate.set()
    assert [await first, await kept] == ["FIRST", "KEPT"]
    assert engine.calls == [("g", ["first"]), ("g", ["kept"])]


async def test_failure_concerns_its_call_only(engine: Engine) -> None:
    """A call that raises fails its own texts; the next call goes on."""
    with pytest.raises(ValueError, match="bad text"):
        await engine.batcher.submit("g", "bad")
    assert await engine.batcher.submit("g", "good") == "GOOD"
