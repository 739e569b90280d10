"""The sessions of nodes that leave on purpose, and what they still hold (R2, R3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select, update

from neurogrid.core.db import Database
from neurogrid.queue.ops import SessionRef
from neurogrid.queue.tables import NodeSession, Task

ENDED = datetime(1970, 1, 1, tzinfo=UTC)
"""The lease of a session that was given up, by whatever clock."""
_HOLDS = select(Task.id).where(Task.status == "running", Task.session_id == NodeSession.id).exists()


class Sessions:
    """Reads sessions by node, and ends those that are of no more use."""

    def __init__(self, database: Database) -> None:
        """Use ``database``."""
        self._database = database

    async def of(self, node: str) -> list[str]:
        """Return the ids of a node's sessions, on whatever gateway."""
        rows = await self._database.all(select(NodeSession.id).where(NodeSession.node_id == node))
        return [row["id"] for row in rows]

    async def present(self, nodes: Sequence[str]) -> set[str]:
        """Return those of ``nodes`` that have a current lease or still hold a task."""
        present = (NodeSession.lease_until > self._database.clock()) | _HOLDS
        rows = await self._database.all(
            select(NodeSession.node_id).where(NodeSession.node_id.in_(nodes), present).distinct()
        )
        return {row["node_id"] for row in rows}

    async def end(self, session: SessionRef) -> None:
        """Give up a session's lease, unless it holds a task or its node has attached anew since."""
        current = (NodeSession.id == session.id) & (NodeSession.gen == session.gen)
        async with self._database.transaction() as transaction:
            await transaction.execute(update(NodeSession).where(current, ~_HOLDS).values(lease_until=ENDED))
