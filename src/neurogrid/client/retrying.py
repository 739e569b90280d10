"""When and how long to wait before a request is sent again; pure."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from neurogrid.client.calls import Answer, Call
from neurogrid.client.errors import ApiError, ConnectionFailed

T = TypeVar("T")

BUSY = frozenset({429, 503})
PASSING = BUSY | {502, 504}
FIRST_DELAY, LONGEST_DELAY = 0.25, 8.0
LONGEST_RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Lost:
    """The exchange broke. ``sent``: the gateway may have received the request."""

    reason: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds, then go on."""

    seconds: float


Step = Pause | None
"""What a conversation asks for: a pause, or (``None``) its request sent and the outcome told."""


def conversation(call: Call[T], retries: int) -> Generator[Step, Answer | Lost | None, T]:
    """Bring one call to its result. Raises ``ApiError`` and ``ConnectionFailed``.

    Yields ``None`` to have the request sent, and is told the outcome; yields ``Pause`` to wait.
    """
    for attempt in range(retries + 1):
        outcome = yield None
        if isinstance(outcome, Answer) and outcome.accepted:
            return call.read(outcome.json())
        last = attempt == retries
        if isinstance(outcome, Answer):
            error = outcome.error()
            if last or not _may_repeat(call, error):
                raise error
            yield Pause(retry_after(outcome) or backoff(attempt))
        elif isinstance(outcome, Lost):
            if last or (outcome.sent and not call.repeatable):
                raise ConnectionFailed(outcome.reason)
            yield Pause(backoff(attempt))
    raise AssertionError("unreachable")


def backoff(attempt: int) -> float:
    """Return the seconds to wait after ``attempt`` (from 0), spread so that clients do not march in step."""
    return min(FIRST_DELAY * float(2**attempt), LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311


def retry_after(answer: Answer) -> float | None:
    """Return the seconds the gateway asks to wait, if it says so in a number that makes sense."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), LONGEST_RETRY_AFTER) if text.isascii() and text.isdigit() else None


def _may_repeat(call: Call[T], error: ApiError) -> bool:
    if error.code == "quota_exceeded":  # which passes with the month
        return False
    if call.repeatable:
        return error.status in PASSING
    # The gateway says that it did nothing; "outcome unknown" says the opposite.
    return error.status in BUSY and error.code != "outcome_unknown"
