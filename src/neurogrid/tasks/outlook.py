"""What lies before a task: who may run it, what goes first, how long such tasks ran."""

from __future__ import annotations

from collections.abc import Sequence

from neurogrid.queue.policy import Priority
from neurogrid.queue.views import Place, QueueViews
from neurogrid.tasks.forecast import Queue, Server
from neurogrid.tasks.ports import Dispatching, Fleet

FIRST = 0.0
"""No rank of a class lies before this."""


class Outlook:
    """Looks at queue, nodes and past on behalf of forecasts."""

    def __init__(self, queue: QueueViews, fleet: Fleet, dispatching: Dispatching) -> None:
        """Look at ``queue``; ask ``fleet`` who serves a model, and ``dispatching`` for its present."""
        self._queue = queue
        self._fleet = fleet
        self._dispatching = dispatching

    async def place(self, owner: str, lane: str, priority: int, share: float = 0.0) -> Place:
        """Return where a task of ``owner`` would stand; ``share`` is its cost by its owner's weight."""
        present = self._dispatching.present(lane, priority)
        last = await self._queue.last_rank(owner, lane, priority)
        return Place(lane, priority, max(present, last) + share, owner)

    async def look(self, model: str, place: Place) -> tuple[Sequence[Server], Queue]:
        """Return the nodes that have ``model``, and what goes before a task of it at ``place``."""
        before = await self._queue.before(place)
        within = await self._ahead_within(place, before.others + before.own)
        durations = await self._queue.durations(model)
        queue = Queue(before.others, before.own, before.running, durations, within)
        return await self._fleet.serving(model), queue

    async def _ahead_within(self, place: Place, ahead: int) -> int | None:
        """Count the tasks ahead in the class of ``place``; ``None`` where ageing does not matter to it."""
        higher = await self._queued_above(place.priority, place) if place.priority > Priority.HIGH else 0
        if not higher:
            return None
        if place.priority < Priority.LOW:
            lowest, below = Priority.LOW + 1, place.priority + 1
            if await self._queued_above(lowest, place) > await self._queued_above(below, place):
                return None
        return ahead - higher

    async def _queued_above(self, priority: int, place: Place) -> int:
        """Count what is queued in the lane in classes before ``priority``."""
        before = await self._queue.before(Place(place.lane, priority, FIRST, place.owner))
        return before.others + before.own
