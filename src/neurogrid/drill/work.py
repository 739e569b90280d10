"""What clients ask of the grid: drawn by number from the seed, with what must come of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ECHO, SLEEP, FAIL = "debug.echo", "debug.sleep", "debug.fail"
MODELS = (ECHO, SLEEP, FAIL)
PRIORITIES = ("high", "normal", "low")
MAX_ATTEMPTS = 4
LONGEST_STREAM = 5.0
"""Seconds a task with chunks takes at most; longer than the drill's leases, so that some outlive one."""


@dataclass(frozen=True, slots=True)
class Work:
    """One submission. Times are in seconds; ``followers`` names a transport for each live stream."""

    number: int
    model: str
    input: Any
    priority: str
    wait: int | None = None
    cancel_after: float | None = None
    keyed: bool = False
    """Submitted under an idempotency key, again and again until there is an answer."""
    followers: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """What the chunks of one attempt join to, ``None`` for a model that has none."""
        if self.model != SLEEP:
            return None
        return "".join(f"{chunk} " for chunk in range(1, self.input["chunks"] + 1))

    def wrong(self, end: End) -> str | None:
        """Say what is wrong with the way this task ended, ``None`` when it had to end so."""
        if self.model == FAIL and self.input["times"] is None:
            code = (end.error or {}).get("code")
            as_told = end.status == "failed" and code == "debug_failure"
            return None if as_told else f"should have failed as told, but is {end}"
        if end.status != "completed":
            return f"should have completed, but is {end}"
        return None if self._right(end) else f"the output of {self.model} {self.input!r} is {end.output!r}"

    def _right(self, end: End) -> bool:
        if self.model == ECHO:
            return bool(end.output == self.input)
        if self.model == SLEEP:
            return bool(end.output == {"slept": self.input["seconds"]})
        return bool(end.output == {"attempt": end.attempt})


@dataclass(frozen=True, slots=True)
class End:
    """How a task ended, by whatever source."""

    status: str
    attempt: int
    output: Any = None
    error: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.status} (attempt {self.attempt}{f', {dict(self.error)}' if self.error else ''})"


def draw(seed: int, number: int) -> Work:
    """Return submission ``number`` of the drill with ``seed``."""
    choose = random.Random(f"{seed}:work:{number}")  # noqa: S311  the drill must be repeatable
    model = choose.choices(MODELS, (50, 40, 10))[0]
    work_input = _input(choose, model, number)
    streams = model == SLEEP and work_input["chunks"] > 0
    return Work(
        number,
        model,
        work_input,
        choose.choice(PRIORITIES),
        wait=choose.randint(2, 8) if choose.random() < 0.3 else None,
        cancel_after=choose.uniform(0, 3) if choose.random() < (0.15 if streams else 0.04) else None,
        keyed=choose.random() < 0.3,
        followers=_followers(choose) if streams else (),
    )


def _input(choose: random.Random, model: str, number: int) -> Any:
    if model == ECHO:
        return {"number": number, "noise": choose.choice(["", "ä☃𝄞", "x" * 2000, [1, 2.5, None, True]])}
    if model == SLEEP:
        if choose.random() < 0.4:
            return {"seconds": round(choose.uniform(0, 0.5), 3), "chunks": 0}
        return {"seconds": round(choose.uniform(0.2, LONGEST_STREAM), 3), "chunks": choose.randint(1, 40)}
    if choose.random() < 0.2:
        return {"message": f"failure {number}", "times": None, "retryable": False}
    return {"message": f"failure {number}", "times": choose.choice([1, 1, 2, None]), "retryable": True}


def _followers(choose: random.Random) -> tuple[str, ...]:
    return tuple(choose.choice(("websocket", "sse")) for _ in range(choose.choice((0, 1, 1, 2))))
