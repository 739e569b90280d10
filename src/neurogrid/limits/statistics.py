"""Who is limited, where, and how often (LIM-6), as this gateway has seen it since it began."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, Final

from neurogrid.core.ids import now

MOST_KNOWN: Final = 1000
"""Callers and paths of which something is kept; the one first seen goes first."""


class Limited:
    """Somebody who was limited."""

    __slots__ = ("by_window", "last", "refused")

    def __init__(self) -> None:
        self.refused = 0
        self.by_window: Counter[str] = Counter()
        self.last: datetime = now()


class Statistics:
    """Counts decisions. Nothing here takes part in one."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.since = now()
        self.allowed: Counter[str] = Counter()
        """Requests by tier."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """By tier and name of the window."""
        self.paths: dict[str, Counter[str]] = {}
        self.callers: dict[str, Limited] = {}

    def note_refused(self, tier: str, owner: str, window: str, path: str) -> None:
        """Count a refusal."""
        self.refused[tier, window] += 1
        if path not in self.paths:
            _make_room(self.paths)
            self.paths[path] = Counter()
        self.paths[path][window] += 1
        if owner not in self.callers:
            _make_room(self.callers)
            self.callers[owner] = Limited()
        caller = self.callers[owner]
        caller.refused += 1
        caller.by_window[window] += 1
        caller.last = now()


def _make_room(known: dict[str, Any]) -> None:
    if len(known) >= MOST_KNOWN:
        del known[next(iter(known))]
