"""The debug models do exactly what they are told."""

from __future__ import annotations

import pytest

from neurogrid.runners.base import TaskError
from neurogrid.runners.debug import DebugEcho, DebugFail, DebugRecite, DebugSleep
from tests.support.node import RecordedEmit

pytestmark = pytest.mark.asyncio


async def test_echo_returns_its_input() -> None:
    """What goes in comes out."""
    value = {"a": [1, None, "ü"]}
    assert (await DebugEcho().run(value, {}, RecordedEmit())).value == value


async def test_sleep_emits_its_chunks() -> None:
    """As many chunks as ordered, in order."""
    emit = RecordedEmit()
    output = await DebugSleep().run({"seconds": 0.01, "chunks": 3}, {}, emit)
    assert emit.text == "1 2 3 "
    assert output.value == {"slept": 0.01}


async def test_recite_says_the_same_every_time() -> None:
    """Its chunks join to the text of its output, whatever the salt; it alone is declared deterministic."""
    for salt in ("", "x"):
        emit = RecordedEmit()
        output = await DebugRecite().run({"words": 3, "seconds": 0.01, "salt": salt}, {}, emit)
        assert output.value == {"text": emit.text} == {"text": "1 2 3 "}
    models = (DebugEcho, DebugSleep, DebugFail, DebugRecite)
    assert [model.spec.deterministic for model in models] == [False, False, False, True]


@pytest.mark.parametrize(("silent", "signs"), [(False, True), (True, False)])
async def test_sleep_can_hang_silently(*, silent: bool, signs: bool) -> None:
    """A sleep gives signs of life unless it plays a model that hangs."""
    emit = RecordedEmit()
    await DebugSleep().run({"seconds": 0.01, "silent": silent}, {}, emit)
    assert bool(emit.signs_of_life) is signs


async def test_fail_fails_the_first_attempts() -> None:
    """`times` attempts fail, the next succeeds."""
    order = {"message": "no luck", "times": 2, "retryable": True}
    for attempt in (1, 2):
        with pytest.raises(TaskError, match="no luck") as caught:
            await DebugFail().run(order, {}, RecordedEmit(attempt))
        assert caught.value.retryable
    assert (await DebugFail().run(order, {}, RecordedEmit(3))).value == {"attempt": 3}


async def test_fail_without_times_fails_for_ever() -> None:
    """Without `times` every attempt fails."""
    with pytest.raises(TaskError) as caught:
        await DebugFail().run({"retryable": False}, {}, RecordedEmit(99))
    assert not caught.value.retryable
