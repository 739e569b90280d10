"""Tokens of text generation: reserved before a task is accepted, settled when it is known what it used (LIM-3).

What is reserved is the prompt's estimate and the longest answer, so that however many ask at once cannot go beyond the
limit together; what was not used is given back. A task that names no longest answer reserves a usual one, and none
reserves more than the limit is: it is let through when all of it is left. Whoever reserved settles. Where another
gateway runs the task, that one says over the bus what was used; said in vain, the reservation stands until it is past.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import orjson

from neurogrid.auth.policy import Identity
from neurogrid.limits import keys
from neurogrid.limits.counting import Counting
from neurogrid.limits.policy import TOKENS
from neurogrid.limits.service import LimitService
from neurogrid.limits.windows import REFUSED, State, Take

TOPIC: Final = "tokens-used"
MOST_OPEN: Final = 100_000
KEPT: Final = 3600.0
"""Seconds after which nobody is expected to say any more what a task used."""

Tell = Callable[[bytes], Coroutine[Any, Any, None]]


class _Reserved(NamedTuple):
    since: float
    taken: list[tuple[Take, State]]


class TokenBudget:
    """Reserves and settles."""

    def __init__(self, limits: LimitService, counting: Counting, tell: Tell) -> None:
        """Count by ``counting``; ``tell`` brings what was used to the other gateways."""
        self._limits = limits
        self._counting = counting
        self._tell = tell
        self._open: dict[str, _Reserved] = {}

    async def reserve(self, actor: Identity, task: str, tokens: int) -> None:
        """Reserve ``tokens`` for ``task``. Raises ``LimitExceeded``."""
        windows = self._limits.policy.of(actor.tier, TOKENS)
        if not windows:
            return
        owner = keys.owner_of_user(actor.user_id)
        takes = [Take(owner, window, min(tokens, window.amount)) for window in windows]
        answer = await self._counting.take(takes)
        if answer.granted == REFUSED:
            raise self._limits.exceeded(actor.tier, "/v1/tasks", takes, answer)
        self._make_room()
        self._open[task] = _Reserved(time.monotonic(), list(zip(takes, answer.states, strict=True)))

    def at_once(self, actor: Identity) -> int | None:
        """Return how many tasks of ``actor`` run together at most; ``None``: any number."""
        return self._limits.policy.running(actor.tier)

    def release(self, task: str) -> None:
        """Give back all that was reserved for a task that will not run."""
        self._settle(task, 0)

    async def used(self, task: str, tokens: int) -> None:
        """Count what a task used in place of what was reserved for it, wherever that was."""
        if not self._settle(task, tokens):
            await self._tell(orjson.dumps([task, tokens]))

    def listen(self, payload: bytes) -> None:
        """Take from the bus what a task used."""
        try:
            task, tokens = orjson.loads(payload)
        except ValueError:
            return
        if isinstance(task, str) and isinstance(tokens, int):
            self._settle(task, tokens)

    def _settle(self, task: str, tokens: int) -> bool:
        reserved = self._open.pop(task, None)
        if reserved is None:
            return False
        for take, state in reserved.taken:
            if tokens != take.cost:
                self._counting.add(take.owner, take.window, state.at, tokens - take.cost)
        return True

    def _make_room(self) -> None:
        """Forget the oldest, of which the order of a dictionary is that of their beginning."""
        old = time.monotonic() - KEPT
        while self._open:
            first = next(iter(self._open))
            if len(self._open) < MOST_OPEN and self._open[first].since > old:
                return
            del self._open[first]
