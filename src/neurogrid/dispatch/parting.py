"""Parting from a node on purpose: what it held goes back into the queue, and nothing is charged (R1)."""

from __future__ import annotations

import asyncio

import structlog

from neurogrid.dispatch.connection import NodeConnection
from neurogrid.dispatch.service import Dispatcher
from neurogrid.queue.ops import Requeue
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.sessions import Sessions

log = structlog.get_logger(__name__)


class Parting:
    """Parts from nodes for ``dispatcher``."""

    def __init__(self, dispatcher: Dispatcher, sessions: Sessions) -> None:
        """Read and end sessions through ``sessions``."""
        self._dispatcher = dispatcher
        self._sessions = sessions

    async def farewell(self, connection: NodeConnection) -> None:
        """Settle what a node leaves that said it has nothing in hand: an assignment it never read, its session."""
        await self._take_back(connection, "drained")
        await self._sessions.end(connection.session)

    async def expel(self, connection: NodeConnection, code: int, why: str, reason: str) -> None:
        """Close a connection for good; ``why`` is for the node's operator, ``reason`` for the log of tasks."""
        log.warning("node.expelled", node=connection.name, session=connection.session.id, reason=reason)
        await connection.hang_up(code, why)
        await self._take_back(connection, reason)

    async def _take_back(self, connection: NodeConnection, reason: str) -> None:
        session = connection.session
        held = await self._dispatcher.upkeep.held([session.id])
        lost = [task for task in held if (task.task, task.attempt) not in connection.settling]
        for running in list(connection.running.values()):
            connection.end(running)
        await asyncio.gather(
            *(self._dispatcher.hand_back(task.task, task.attempt, session, reason) for task in lost)
        )

    async def take_back_all(self, node: str, reason: str) -> None:
        """Take back what a node holds that does not exist any more, whichever gateway it was connected to."""
        held = await self._dispatcher.upkeep.held(await self._sessions.of(node))
        moves = (Requeue(task.task, task.attempt, Status.QUEUED, Charge.NONE, reason) for task in held)
        await asyncio.gather(*(self._dispatcher.requeue(move) for move in moves))
