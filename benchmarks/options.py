"""How much is measured, and the loop it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. ``note`` is told what is being measured."""

    rounds: int
    quick: bool
    note: Callable[[str], None] = print

    def size(self, full: int, quick: int) -> int:
        """Return how much one round does."""
        return quick if self.quick else full


def on_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` to its end on the loop that servers use."""
    return uvloop.run(work)
