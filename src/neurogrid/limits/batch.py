"""What is sent to Redis in one turn: for each owner one run of a script, for all who ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from neurogrid.limits.script import MEND, TAKE, digest
from neurogrid.limits.shares import Mend
from neurogrid.limits.windows import REFUSED, Answer, State, Take, Window

TAKE_DIGEST: Final = digest(TAKE)
MEND_DIGEST: Final = digest(MEND)
SERVER_CLOCK: Final = 0
_STATE: Final = 3


class Call(NamedTuple):
    """One run of a script: which, for whom, with what."""

    digest: str
    owner: str
    arguments: list[Any]


class _Owner:
    """What is asked of one owner's windows."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._windows: list[Any] = []
        self._requests: list[Any] = []

    def add(self, takes: Sequence[Take]) -> None:
        requests = self._requests
        requests.append(len(takes))
        for _, window, cost, part in takes:
            place = self._places.get(window.field)
            if place is None:
                place = self._places[window.field] = len(self._places) + 1
                self._windows += (window.field, window.amount, window.period)
            requests += (place, cost, 1 if part else 0)

    def call(self, owner: str, now: int) -> Call:
        return Call(TAKE_DIGEST, owner, [now, len(self._places), *self._windows, *self._requests])


class Batch:
    """The takes of several requests, and what became of each."""

    def __init__(self, requests: Sequence[Sequence[Take]], now: int = SERVER_CLOCK) -> None:
        """Sort what is asked for by owner. ``now`` is for tests that tell the time."""
        self._requests = requests
        self._now = now
        self._owners: dict[str, _Owner] = {}
        for takes in requests:
            for owner, of_owner in _by_owner(takes).items():
                self._owners.setdefault(owner, _Owner()).add(of_owner)

    def calls(self) -> list[Call]:
        """Return the scripts to run."""
        return [asked.call(owner, self._now) for owner, asked in self._owners.items()]

    def answers(self, results: Sequence[list[int]]) -> Iterator[tuple[Answer, list[Undo]]]:
        """Yield what became of each request, and what one owner granted it in vain because another one refused."""
        numbers = {owner: iter(result) for owner, result in zip(self._owners, results, strict=True)}
        clocks = {owner: next(each) for owner, each in numbers.items()}
        for takes in self._requests:
            states: dict[int, State] = {}
            granted: dict[str, int] = {}
            for owner, of_owner in _by_owner(takes).items():
                mine = numbers[owner]
                granted[owner] = next(mine)
                for take in of_owner:
                    states[id(take)] = State(*islice(mine, _STATE))
            ordered = [states[id(take)] for take in takes]
            refused = REFUSED in granted.values()
            outcome = REFUSED if refused else max(granted.values(), default=0)
            undo = _in_vain(takes, ordered, granted) if refused else []
            windows = [take.window for take in takes]
            yield Answer(outcome, max(clocks[owner] for owner in granted), windows, ordered), undo


class Undo(NamedTuple):
    """Something to be given back."""

    owner: str
    window: Window
    at: int
    cost: int


def _in_vain(takes: Sequence[Take], states: Sequence[State], granted: dict[str, int]) -> list[Undo]:
    return [
        Undo(take.owner, take.window, state.at, granted[take.owner] if take.part else take.cost)
        for take, state in zip(takes, states, strict=True)
        if granted[take.owner] != REFUSED
    ]


def _by_owner(takes: Sequence[Take]) -> dict[str, list[Take]]:
    owners: dict[str, list[Take]] = {}
    for take in takes:
        owners.setdefault(take.owner, []).append(take)
    return owners


def mending(mends: Iterable[Mend], now: int = SERVER_CLOCK) -> Iterator[Call]:
    """Yield the scripts that make corrections."""
    for owner, window, at, seen, more in mends:
        arguments = [now, 1, window.field, window.amount, window.period, at, seen, more]
        yield Call(MEND_DIGEST, owner, arguments)
