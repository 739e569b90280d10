"""The schedule of misfortunes: drawn from the seed, pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

INTERVAL = (1.2, 3.6)
"""Seconds between two misfortunes."""
FIRST_AT = 2.0


class Family(StrEnum):
    """How misfortunes are counted."""

    KILL = "kills"
    PAUSE = "pauses"
    CUT = "cuts"
    ORDER = "orders"
    """What operators do; it harms nobody, or so it should."""


class Kind(StrEnum):
    """What can happen. ``part`` and ``freeze`` pause a connection, with everybody else alive."""

    KILL_GATEWAY = "kill_gateway"
    TERM_GATEWAY = "term_gateway"
    PAUSE_GATEWAY = "pause_gateway"
    PAUSE_GATEWAY_IN_TRANSACTION = "pause_gateway_in_transaction"
    KILL_GATEWAY_AT_COMMIT = "kill_gateway_at_commit"
    KILL_NODE = "kill_node"
    TERM_NODE = "term_node"
    PAUSE_NODE = "pause_node"
    PART_NODE = "part_node"
    CUT_NODE = "cut_node"
    KILL_REDIS = "kill_redis"
    PAUSE_REDIS = "pause_redis"
    FREEZE_REDIS = "freeze_redis"
    FLUSH_REDIS = "flush_redis"
    CRASH_DATABASE = "crash_database"
    PAUSE_DATABASE = "pause_database"
    KILL_BACKEND = "kill_backend"
    PAUSE_BACKEND = "pause_backend"
    FREEZE_DATABASE = "freeze_database"
    CUT_DATABASE = "cut_database"
    CUT_BEFORE_COMMIT = "cut_before_commit"
    CUT_AFTER_COMMIT = "cut_after_commit"
    DELAY_COMMIT = "delay_commit"
    CORDON_NODE = "cordon_node"
    DRAIN_NODE = "drain_node"

    @property
    def family(self) -> Family:
        """How it is counted."""
        if self.startswith(("kill", "term", "crash")):
            return Family.KILL
        if self.startswith(("pause", "part", "freeze", "delay")):
            return Family.PAUSE
        if self.startswith(("cordon", "drain")):
            return Family.ORDER
        return Family.CUT


Deck = Mapping[Kind, int]
"""How often each kind happens in one round of the schedule."""

EVERYTHING: Deck = dict.fromkeys(Kind, 1) | {
    Kind.KILL_NODE: 2,
    Kind.PAUSE_NODE: 2,
    Kind.PART_NODE: 2,
    Kind.CUT_AFTER_COMMIT: 2,
}


@dataclass(frozen=True, slots=True)
class Misfortune:
    """One event of the schedule: what, ``at`` so many seconds after the start, for ``seconds``.

    ``target`` is a number that the victim's kind is picked by: gateway or node ``target % count``.
    """

    at: float
    kind: Kind
    target: int
    seconds: float


def schedule(seed: int, duration: float, deck: Deck = EVERYTHING) -> Iterator[Misfortune]:
    """Yield misfortunes for ``duration`` seconds; each round of them is the whole ``deck``, shuffled."""
    choose = random.Random(f"{seed}:plan")  # noqa: S311  the drill must be repeatable
    at = FIRST_AT
    cards: list[Kind] = []
    while at < duration:
        if not cards:
            cards = list(Counter(deck).elements())
            choose.shuffle(cards)
        kind = cards.pop()
        yield Misfortune(round(at, 2), kind, choose.randrange(1000), round(_seconds(choose, kind), 2))
        at += choose.uniform(*INTERVAL)


def _seconds(choose: random.Random, kind: Kind) -> float:
    """Draw how long it lasts; for what is killed, until it is started again."""
    if kind.family is Family.KILL:
        return choose.uniform(0.2, 2.0)
    if kind.endswith("_node"):
        return choose.uniform(1.0, 7.0)  # of a lease of three
    return choose.uniform(0.5, 5.5)
