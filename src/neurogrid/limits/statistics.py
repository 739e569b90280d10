"""Who is limited, where, and how often (LIM-6): what this gateway has seen since it began, and the others have told it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Protocol, TypeVar

import msgspec

from neurogrid.core.ids import now

MOST_KNOWN: Final = 1000
"""Callers and paths of which something is kept; the one first seen goes first."""
TOLD: Final = 100
"""Of callers and of paths, how many of the most limited a gateway tells the others."""
TOPIC: Final = "limit-statistics"
SHARED_EVERY: Final = 5.0
BELIEVED_FOR: Final = 30.0
"""Seconds after which a gateway that says nothing more is gone, and what it has seen with it."""
MOST_GATEWAYS: Final = 100


class Limited(msgspec.Struct):
    """Somebody, or some path, that was limited: how often in which window."""

    by_window: dict[str, int]
    last: datetime

    @property
    def refused(self) -> int:
        """How often in all."""
        return sum(self.by_window.values())


class Seen(msgspec.Struct):
    """What one gateway has seen. ``refused`` is by tier, then window."""

    gateway: str
    since: datetime
    outages: int
    allowed: dict[str, int]
    refused: dict[str, dict[str, int]]
    paths: dict[str, Limited]
    callers: dict[str, Limited]


class Statistics:
    """Counts decisions. Nothing here takes part in one."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.since = now()
        self.allowed: Counter[str] = Counter()
        """Requests by tier."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """By tier and name of the window."""
        self.paths: dict[str, Limited] = {}
        self.callers: dict[str, Limited] = {}

    def note_refused(self, tier: str, owner: str, window: str, path: str) -> None:
        """Count a refusal."""
        self.refused[tier, window] += 1
        for known, key in ((self.paths, path), (self.callers, owner)):
            if key not in known:
                if len(known) >= MOST_KNOWN:
                    del known[next(iter(known))]
                known[key] = Limited({}, now())
            limited = known[key]
            limited.by_window[window] = limited.by_window.get(window, 0) + 1
            limited.last = now()

    def seen(self, gateway: str, outages: int, top: int = TOLD) -> Seen:
        """Return what ``gateway`` has seen, with the ``top`` most limited callers and paths."""
        refused: dict[str, dict[str, int]] = {}
        for (tier, window), count in self.refused.items():
            refused.setdefault(tier, {})[window] = count
        return Seen(
            gateway,
            self.since,
            outages,
            dict(self.allowed),
            refused,
            most(self.paths, top),
            most(self.callers, top),
        )


class Known(Protocol):
    """What is known of this gateway."""

    gateway: str

    @property
    def outages(self) -> int:
        """How often Redis went away."""


class Shared:
    """What all gateways have seen."""

    def __init__(self, statistics: Statistics, counting: Known) -> None:
        """Tell ``statistics``; ``counting`` knows the gateway and its outages."""
        self._statistics = statistics
        self._counting = counting
        self._others: dict[str, tuple[float, Seen]] = {}

    def said(self) -> bytes:
        """Return what to tell the others."""
        return msgspec.json.encode(self._own())

    def listen(self, payload: bytes) -> None:
        """Take from the bus what another gateway has seen."""
        try:
            seen = msgspec.json.decode(payload, type=Seen)
        except msgspec.MsgspecError:
            return
        self._others.pop(seen.gateway, None)
        if seen.gateway != self._counting.gateway:
            if len(self._others) >= MOST_GATEWAYS:
                del self._others[next(iter(self._others))]
            self._others[seen.gateway] = (time.monotonic(), seen)

    def all(self) -> list[Seen]:
        """Return what each living gateway has seen, this one first."""
        old = time.monotonic() - BELIEVED_FOR
        self._others = {name: each for name, each in self._others.items() if each[0] > old}
        return [self._own(), *(seen for _, seen in self._others.values())]

    def _own(self) -> Seen:
        return self._statistics.seen(self._counting.gateway, self._counting.outages)


_Key = TypeVar("_Key")


def most(limited: dict[_Key, Limited], top: int) -> dict[_Key, Limited]:
    """Return the ``top`` most often limited, the most often first."""
    return dict(sorted(limited.items(), key=lambda each: -each[1].refused)[:top])


def together(several: Iterable[dict[str, Limited]]) -> dict[str, Limited]:
    """Return the same of all gateways together."""
    found: dict[str, Limited] = {}
    for one in several:
        for key, limited in one.items():
            known = found.get(key)
            if known is None:
                found[key] = Limited(dict(limited.by_window), limited.last)
                continue
            known.last = max(known.last, limited.last)
            known.by_window = dict(Counter(known.by_window) + Counter(limited.by_window))
    return found
