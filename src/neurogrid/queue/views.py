"""What the queue lets the features above it read: figures over sessions and lanes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from neurogrid.core.db import Database
from neurogrid.queue.tables import NodeSession, Task

HISTORY = 200
"""Finished tasks of a model that forecasts look back on, among the last ``LOOK_BACK`` tasks of all."""
LOOK_BACK = 5000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task stands, or would stand."""

    lane: str
    priority: int
    rank: float
    owner: str


@dataclass(frozen=True, slots=True)
class Before:
    """Queued tasks of others and of the owner that go first, and the running ones of the lane."""

    others: int
    own: int
    running: int


class QueueViews:
    """Read-only figures of the queue."""

    def __init__(self, database: Database) -> None:
        """Read from ``database``."""
        self._database = database

    async def load_by_node(self) -> dict[str, int]:
        """Return how many tasks each connected node runs, by node id."""
        running = func.count(Task.id)
        rows = await self._database.all(
            select(NodeSession.node_id, running.label("running"))
            .outerjoin(Task, (Task.session_id == NodeSession.id) & (Task.status == "running"))
            .where(NodeSession.lease_until > self._database.clock())
            .group_by(NodeSession.node_id)
        )
        return {row["node_id"]: row["running"] for row in rows}

    async def depth(self) -> dict[str, int]:
        """Return how many tasks are ``queued``, ``waiting`` and ``running``."""
        rows = await self._database.all(
            select(Task.status, func.count().label("tasks"))
            .where(Task.status.in_(("queued", "waiting", "running")))
            .group_by(Task.status)
        )
        found = {row["status"]: row["tasks"] for row in rows}
        return {status: found.get(status, 0) for status in ("queued", "waiting", "running")}

    async def before(self, place: Place) -> Before:
        """Count what lies before a task in its lane, and what the lane runs."""
        better = (Task.class_ < place.priority) | ((Task.class_ == place.priority) & (Task.rank < place.rank))
        own = Task.owner_id == place.owner
        rows = await self._database.all(
            select(own.label("own"), func.count().label("tasks"))
            .where(Task.status == "queued", Task.lane == place.lane, better)
            .group_by(own)
        )
        running = await self._database.first(
            select(func.count().label("tasks")).where(Task.status == "running", Task.lane == place.lane)
        )
        found = {bool(row["own"]): row["tasks"] for row in rows}
        return Before(found.get(False, 0), found.get(True, 0), running["tasks"] if running else 0)

    async def durations(self, model: str) -> list[float]:
        """Return how long the last tasks of ``model`` ran, in seconds."""
        recent = (
            select(Task.id, Task.model, Task.status, Task.started_at, Task.finished_at)
            .order_by(Task.id.desc())
            .limit(LOOK_BACK)
            .subquery()
        )
        ended = (
            select(recent.c.started_at, recent.c.finished_at)
            .where(recent.c.status == "completed", recent.c.model == model, recent.c.started_at.is_not(None))
            .order_by(recent.c.id.desc())
            .limit(HISTORY)
        )
        rows = await self._database.all(ended)
        return [(row["finished_at"] - row["started_at"]).total_seconds() for row in rows]

    async def last_rank(self, owner: str, lane: str, priority: int) -> float:
        """Return the last rank among an owner's live tasks of a lane and class, 0 without any (R17)."""
        row = await self._database.first(
            select(func.max(Task.rank).label("rank")).where(
                Task.owner_id == owner,
                Task.lane == lane,
                Task.class_ == priority,
                Task.status.in_(("queued", "waiting", "running")),
            )
        )
        return (row and row["rank"]) or 0.0
