"""A node serves what it can and says why it cannot serve the rest."""

from __future__ import annotations

from typing import Any

import pytest

from neurogrid.runners.base import ModelUnavailable
from neurogrid.runners.catalog import LoadState, build, load_all
from tests.support.node import Puppet


def test_default_is_every_real_model() -> None:
    """Debug models are served only when asked for."""
    real = ["smollm2-135m", "e5-small", "language", "sentiment", "file-type"]
    assert [runner.spec.name for runner in build()] == real
    debug = ["debug.echo", "debug.sleep", "debug.fail", "debug.recite"]
    assert [runner.spec.name for runner in build(debug=True)] == real + debug


def test_names_choose_and_order() -> None:
    """Only the models named, once each."""
    assert [runner.spec.name for runner in build(["language", "e5-small", "language"])] == [
        "language",
        "e5-small",
    ]


@pytest.mark.parametrize("name", ["gpt-9", "debug.echo"])
def test_unknown_name_is_told(name: str) -> None:
    """An unknown model is named; a debug model that is not admitted is unknown."""
    with pytest.raises(ValueError, match=name):
        build(["language", name])


class Broken(Puppet):
    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self._error = error

    async def load(self) -> None:
        raise self._error


@pytest.mark.asyncio
async def test_one_broken_model_does_not_stop_the_others() -> None:
    """Models that cannot load are reported with their reason, whatever they raise."""
    runners: list[Any] = [
        Puppet("good"),
        Broken("old-cpu", ModelUnavailable("needs AVX2")),
        Broken("buggy", KeyError("x")),
    ]
    seen: list[tuple[str, LoadState, str]] = []
    loaded, refused = await load_all(runners, lambda *step: seen.append(step))
    assert [runner.spec.name for runner in loaded] == ["good"]
    assert refused == {"old-cpu": "needs AVX2", "buggy": "KeyError: 'x'"}
    assert ("good", LoadState.READY, "") in seen
    assert ("old-cpu", LoadState.UNAVAILABLE, "needs AVX2") in seen
