"""What clients ask of the grid: drawn by number from the seed, with what must come of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

ECHO, SLEEP, FAIL, RECITE = "debug.echo", "debug.sleep", "debug.fail", "debug.recite"
MODELS = (ECHO, SLEEP, FAIL, RECITE)
PRIORITIES = ("high", "normal", "low")
MAX_ATTEMPTS = 4
LONGEST_STREAM = 5.0
"""Seconds a task with chunks takes at most; longer than the drill's leases, so that some outlive one."""
LARGEST_GROUP = 10


@dataclass(frozen=True, slots=True)
class Leave:
    """A client that goes away for good, ``after`` so many seconds, from an answer it waits for or a stream."""

    after: float
    on_disconnect: str


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
    repeat_after: float | None = None
    """Submitted once more under its key, so long after it was accepted."""
    replay: bool = False
    """Run again when it is a dead letter; which it has to survive."""
    leave: Leave | None = None
    followers: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """What the chunks of one attempt join to, ``None`` for a model that has none."""
        words = {SLEEP: "chunks", RECITE: "words"}.get(self.model)
        return None if words is None else "".join(f"{word} " for word in range(1, self.input[words] + 1))

    @property
    def may_be_deserted(self) -> bool:
        """Whether it may be cancelled though nobody cancels it: it ends with its client."""
        return self.leave is not None and self.leave.on_disconnect == "cancel"

    def wrong(self, end: End, *, replayed: bool = False) -> str | None:
        """Say what is wrong with the way this task ended, ``None`` when it had to end so.

        ``replayed``: it was a dead letter, and its client was told that it is run again.
        """
        if self.model == FAIL and end.status == "failed":
            code = (end.error or {}).get("code")
            had_to = self.input["times"] is None or (self.replay and not replayed)
            return None if had_to and code == "debug_failure" else f"should not have failed so: {end}"
        if end.status != "completed":
            return f"should have completed, but is {end}"
        return None if self._right(end) else f"the output of {self.model} {self.input!r} is {end.output!r}"

    def _right(self, end: End) -> bool:
        if self.model == ECHO:
            return bool(end.output == self.input)
        if self.model == SLEEP:
            return bool(end.output == {"slept": self.input["seconds"]})
        if self.model == RECITE:
            return bool(end.output == {"text": self.text})
        return bool(self.input["times"] is not None and end.output == {"attempt": end.attempt})


@dataclass(frozen=True, slots=True)
class Group:
    """Submissions that are made together: in one request (``bulk``), or each by itself at the same time."""

    works: Sequence[Work]
    bulk: bool = False


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


def draw_group(seed: int, first: int) -> Group:
    """Return what is submitted together, beginning with submission ``first``: mostly that one alone."""
    choose = random.Random(f"{seed}:group:{first}")  # noqa: S311  the drill must be repeatable
    kind = choose.choices(("single", "bulk", "twins"), (94, 3, 3))[0]
    if kind == "single":
        return Group((draw(seed, first),))
    numbers = range(first, first + choose.randint(2, LARGEST_GROUP))
    if kind == "bulk":
        return Group([_plain(draw(seed, number)) for number in numbers], bulk=True)
    asked = {
        "words": choose.randint(1, 30),
        "seconds": round(choose.uniform(0, LONGEST_STREAM / 2), 3),
        "salt": f"{seed}-{first}",
    }
    return Group([_twin(seed, number, asked) for number in numbers])


def _plain(work: Work) -> Work:
    """Return it without what only a request of its own can ask for."""
    return replace(work, wait=None, keyed=False, repeat_after=None, leave=None)


def _twin(seed: int, number: int, asked: Any) -> Work:
    choose = random.Random(f"{seed}:twin:{number}")  # noqa: S311  the drill must be repeatable
    return Work(
        number,
        RECITE,
        asked,
        choose.choice(PRIORITIES),
        wait=choose.randint(2, 8) if choose.random() < 0.3 else None,
        cancel_after=choose.uniform(0, 2) if choose.random() < 0.15 else None,
        keyed=choose.random() < 0.3,
        followers=_followers(choose),
    )


def draw(seed: int, number: int) -> Work:
    """Return submission ``number`` of the drill with ``seed``."""
    choose = random.Random(f"{seed}:work:{number}")  # noqa: S311  the drill must be repeatable
    model = choose.choices((ECHO, SLEEP, FAIL), (50, 40, 10))[0]
    work_input = _input(choose, model, number)
    streams = model == SLEEP and work_input["chunks"] > 0
    keyed = choose.random() < 0.3
    work = Work(
        number,
        model,
        work_input,
        choose.choice(PRIORITIES),
        wait=choose.randint(2, 8) if choose.random() < 0.3 else None,
        cancel_after=choose.uniform(0, 3) if choose.random() < (0.15 if streams else 0.04) else None,
        keyed=keyed,
        repeat_after=choose.uniform(0, 6) if keyed and choose.random() < 0.5 else None,
        followers=_followers(choose) if streams else (),
    )
    if model == FAIL and (work_input["times"] or 0) >= MAX_ATTEMPTS:
        return replace(work, replay=True, wait=None, cancel_after=None)
    return _leaving(choose, work) if streams and choose.random() < 0.25 else work


def _leaving(choose: random.Random, work: Work) -> Work:
    leave = Leave(choose.uniform(0.1, 2), choose.choice(("cancel", "detach")))
    if choose.random() < 0.5:
        return replace(work, leave=leave, wait=8, cancel_after=None, followers=())
    return replace(
        work,
        leave=leave,
        wait=None,
        cancel_after=None,
        followers=("sse", "websocket")[: choose.randint(1, 2)],
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
    # One that fails longer than it may is a dead letter, unless attempts are lost that cost it nothing; run again,
    # it has as many attempts as before, and lives to succeed.
    times = choose.choice([1, 2, None, MAX_ATTEMPTS, MAX_ATTEMPTS + 2])
    return {"message": f"failure {number}", "times": times, "retryable": True}


def _followers(choose: random.Random) -> tuple[str, ...]:
    return tuple(choose.choice(("websocket", "sse")) for _ in range(choose.choice((0, 1, 1, 2))))
