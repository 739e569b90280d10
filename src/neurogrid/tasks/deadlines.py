"""Deadlines that cannot be kept are refused when a task is submitted, with one that could be (GRID-12)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from neurogrid.core.errors import FieldError, Invalid
from neurogrid.core.ids import now
from neurogrid.tasks import forecast
from neurogrid.tasks.forecast import End, Expectation, Queue, Server
from neurogrid.tasks.outlook import Outlook
from neurogrid.tasks.recent import Recent

KNOWN_FOR: Final = 1.0
"""Seconds for which what was seen of queue and nodes is used again, its age taken into account."""


class DeadlineInfeasible(Invalid):
    """The task would not be done by its deadline."""

    code, title = "deadline_infeasible", "Deadline cannot be met"


class Deadlines:
    """Judges deadlines; only tasks that have one pay for it."""

    def __init__(self, outlook: Outlook) -> None:
        """Judge by ``outlook``."""
        self._outlook = outlook
        self._seen: Recent[tuple[str, str, int], tuple[Sequence[Server], Queue]] = Recent(KNOWN_FOR)

    async def require_feasible(
        self, deadline: datetime, model: str, requires: Mapping[str, str], place: tuple[str, str, int]
    ) -> None:
        """Raise ``Invalid`` for a deadline that has passed or, as far as can be told, cannot be kept.

        ``place`` is the task's owner, lane and priority class.
        """
        require_to_come(deadline)

        async def look() -> tuple[Sequence[Server], Queue]:
            return await self._outlook.look(model, await self._outlook.place(*place))

        (servers, queue), age = await self._seen.get(place, look)
        start = forecast.expect(servers, requires, queue)
        late = too_late(deadline, start, queue.durations, age)
        if late is not None:
            raise DeadlineInfeasible(late, errors=[FieldError("deadline", "is too near")])


def require_to_come(deadline: datetime | None) -> None:
    """Raise ``Invalid`` for a deadline that has passed."""
    if deadline is not None and deadline <= now():
        msg = "The deadline lies in the past."
        raise Invalid(msg, errors=[FieldError("deadline", "lies in the past")])


def too_late(
    deadline: datetime | None, start: Expectation | None, durations: Sequence[float], age: float = 0.0
) -> str | None:
    """Return what is wrong with a deadline and which one would do; ``None`` if it may be kept.

    Without a node or a history nobody can tell, and a node may come. ``age`` are the seconds since ``start``
    was true; by now that much is done.
    """
    if deadline is None or start is None:
        return None
    end = forecast.done(start, durations)
    moment = now()
    if end is None or moment + timedelta(seconds=max(0.0, end.earliest - age)) <= deadline:
        return None
    return _remedy(moment, start, end)


def _remedy(moment: datetime, start: Expectation, end: End) -> str:
    feasible = (moment + timedelta(seconds=math.ceil(end.likely))).replace(microsecond=0) + timedelta(
        seconds=1
    )
    begins = f"in about {start.p50:.1f} s" if start.p50 else "at once"
    return (
        f"The task would not be done in time: by what others of its model took, it would begin {begins}. "
        f"Set the deadline to {feasible:%Y-%m-%dT%H:%M:%SZ} or later, or leave it out."
    )
