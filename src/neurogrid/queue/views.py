"""What the queue lets the features above it read: figures over sessions and lanes."""

from __future__ import annotations

from sqlalchemy import func, select

from neurogrid.core.db import Database
from neurogrid.core.ids import now
from neurogrid.queue.tables import NodeSession, Task


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
            .where(NodeSession.lease_until > now())
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
