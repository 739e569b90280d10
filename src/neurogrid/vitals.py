"""How a gateway is: what its health checks ask, and the figures of the ``stats`` channel."""

from __future__ import annotations

from typing import Any

from neurogrid.core.health import HealthChecks
from neurogrid.events.bus import Bus
from neurogrid.queue.journal import Journal
from neurogrid.queue.views import QueueViews
from neurogrid.streams.hub import Hub


class Vitals:
    """Asks the parts of one gateway."""

    def __init__(self, views: QueueViews, journal: Journal, bus: Bus) -> None:
        self._views = views
        self._journal = journal
        self._bus = bus

    def checks(self) -> HealthChecks:
        """Return the checks: nothing goes without the database, and all but live events without Redis."""
        return HealthChecks({"database": self._database}, {"redis": self._redis} if self._bus.shared else {})

    async def figures(self, hub: Hub) -> dict[str, Any]:
        """Return what is counted: tasks by status, nodes, connections to ``hub``, rows written."""
        depth = await self._views.depth()
        load = await self._views.load_by_node()
        live, journal = hub.statistics, self._journal.statistics
        return {
            "tasks": depth,
            "nodes": {"connected": len(load), "running": sum(load.values())},
            "connections": {"websocket": live.connections, "messages_sent": live.messages_sent},
            "journal": {"batches": journal.batches, "rows": journal.rows},
        }

    async def _database(self) -> str | None:
        await self._views.depth()
        return None if self._journal.connected else "the journal has no connection"

    async def _redis(self) -> str | None:
        return None if self._bus.healthy else "away; live events stay within this gateway"
