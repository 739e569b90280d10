"""What operators decide about nodes, carried out on the connections of this gateway.

The rows of nodes and tokens are the truth, read again and again in one query for all connections; a message on
the control topic only makes that happen at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

import orjson

from neurogrid.core.ids import now
from neurogrid.dispatch.connection import CLOSE_FORBIDDEN, CLOSE_UNAUTHENTICATED, NodeConnection
from neurogrid.dispatch.parting import Parting
from neurogrid.dispatch.service import CONTROL, Dispatcher
from neurogrid.events.bus import Bus
from neurogrid.nodes.joining import JoinTokens
from neurogrid.nodes.policy import NodeState, Standing
from neurogrid.nodes.service import REMOVED, NodeService
from neurogrid.protocol.messages import Drain
from neurogrid.queue.sessions import Sessions

OVERDUE = timedelta(seconds=15)
"""How long after its deadline a draining node may take to stop what runs and to have its results confirmed."""


class NodeOrders:
    """Sees to it that connected nodes are what their rows say."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        bus: Bus,
        nodes: NodeService,
        tokens: JoinTokens,
        sessions: Sessions,
        parting: Parting,
    ) -> None:
        """Look after the connections of ``dispatcher``."""
        self._dispatcher = dispatcher
        self._bus = bus
        self._nodes = nodes
        self._tokens = tokens
        self._sessions = sessions
        self._parting = parting

    async def announce(self, node: str) -> None:
        """Have every gateway, this one included, look at a node."""
        await self._bus.send(CONTROL, orjson.dumps({"type": "node", "node": node}))

    def listen(self, payload: bytes) -> None:
        """Take a control message from the bus."""
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return
        if isinstance(message, dict) and message.get("type") == "node":
            self._dispatcher.background.spawn(self._look_at(str(message.get("node"))), "dispatch.node")

    async def round(self) -> None:
        """Bring all connections in line with the rows of their nodes."""
        connections = self._connected()
        standings = await self._nodes.standings({connection.node_id for connection in connections})
        await self._apply(connections, standings)
        await self._conclude(standings.values())

    async def _look_at(self, node: str) -> None:
        await self._nodes.refresh()
        connections = [connection for connection in self._connected() if connection.node_id == node]
        standings = await self._nodes.standings([node])
        await self._apply(connections, standings)
        if node not in standings:
            await self._parting.take_back_all(node, "node_removed")
        await self._conclude(standings.values())

    async def check_tokens(self) -> None:
        """Part from nodes whose token was revoked or has expired, asking once for all of them."""
        connections = [connection for connection in self._connected() if connection.token is not None]
        if not connections:
            return
        valid = await self._tokens.valid({connection.token for connection in connections if connection.token})
        why = "The node's token was revoked or has expired."
        await asyncio.gather(
            *(
                self._parting.expel(connection, CLOSE_UNAUTHENTICATED, why, "token_revoked")
                for connection in connections
                if connection.token not in valid
            )
        )

    def _connected(self) -> list[NodeConnection]:
        return [connection for connection in self._dispatcher.connections.values() if connection.connected]

    async def _apply(self, connections: Sequence[NodeConnection], standings: dict[str, Standing]) -> None:
        # Side by side: a node that does not read must not keep the others waiting.
        await asyncio.gather(
            *(
                self._bring_in_line(connection, standings.get(connection.node_id))
                for connection in connections
            )
        )

    async def _bring_in_line(self, connection: NodeConnection, standing: Standing | None) -> None:
        if standing is None:
            await self._parting.expel(connection, CLOSE_FORBIDDEN, REMOVED, "node_removed")
            return
        was, connection.cordoned = connection.cordoned, standing.state is not NodeState.ACTIVE
        if standing.state is NodeState.DRAINING:
            await self._drain(connection, standing)
        elif was and not connection.cordoned:
            self._dispatcher.lanes.probe(connection.models)
            self._dispatcher.poke()

    async def _drain(self, connection: NodeConnection, standing: Standing) -> None:
        left = (standing.drain_until or now()) - now()
        if not connection.leaving:
            connection.leaving = True
            await connection.send(Drain(max(0.0, left.total_seconds())))
        elif left < -OVERDUE:
            why = "The node did not leave by its deadline."
            await self._parting.expel(connection, CLOSE_FORBIDDEN, why, "drained")

    async def _conclude(self, standings: Iterable[Standing]) -> None:
        """Record which draining nodes have left; any gateway may, theirs may be gone itself."""
        draining = [standing.id for standing in standings if standing.state is NodeState.DRAINING]
        if not draining:
            return
        left = set(draining) - await self._sessions.present(draining)
        if left:
            await self._nodes.drained(sorted(left))
