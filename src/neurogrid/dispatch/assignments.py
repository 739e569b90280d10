"""Handing attempts that are committed to their nodes (R7)."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
import structlog

from neurogrid.core.background import Background
from neurogrid.core.ids import now
from neurogrid.dispatch.connection import NodeConnection, Running
from neurogrid.dispatch.policy import seconds_left, time_allowed
from neurogrid.protocol.messages import Assign
from neurogrid.queue.answers import Claimed, Inserted
from neurogrid.queue.ops import Insert, SessionRef
from neurogrid.queue.patience import patiently
from neurogrid.queue.policy import Charges
from neurogrid.queue.upkeep import Upkeep

log = structlog.get_logger(__name__)

RECHECK_SHARE = 3
"""An order older than the lease divided by this is compared with the database before it is sent."""


class Assignments:
    """Begins attempts on the nodes of this gateway."""

    def __init__(
        self,
        connections: Mapping[str, NodeConnection],
        upkeep: Upkeep,
        background: Background,
        lease: float,
        *,
        hand_back: Callable[[str, int, SessionRef], Coroutine[Any, Any, None]],
        poke: Callable[[], None],
    ) -> None:
        """Use ``connections``; leases last ``lease`` seconds. What cannot be begun goes to ``hand_back``."""
        self._connections = connections
        self._upkeep = upkeep
        self._background = background
        self._check_after = lease / RECHECK_SHARE
        self._hand_back = hand_back
        self._poke = poke

    def begin(self, connection: NodeConnection | None, claimed: Claimed, since: float) -> None:
        """Hand an attempt to its node, if that is still there; ``since`` is the monotonic time it was claimed for."""
        if connection is None:
            return
        current = self._connections.get(claimed.session) is connection
        if not current or not connection.connected:
            # It left in the meantime. Should it come back first, it will not know the task (R7).
            back = self._hand_back(claimed.task, claimed.attempt, connection.session)
            self._background.spawn(back, "dispatch.hand_back")
            return
        running = Running(
            claimed.task,
            claimed.attempt,
            claimed.owner,
            claimed.lane,
            claimed.model,
            Charges(claimed.errors, claimed.losses, claimed.max_attempts),
            priority=claimed.priority,
            cost=claimed.cost,
            deadline=claimed.deadline,
        )
        connection.begin(running)
        connection.orders.append((running, claimed, since))
        if len(connection.orders) == 1:
            self._background.spawn(self._assign_all(connection), "dispatch.assign")

    async def _assign_all(self, connection: NodeConnection) -> None:
        """Send what was begun in this moment."""
        orders, connection.orders = connection.orders, []
        due = []
        for running, claimed, since in orders:
            try:
                order = await self._order(connection, running, claimed, since)
            except Exception:  # the others' tasks are not to wait for their silence to be noticed
                log.exception("dispatch.assign_failed", task=running.task)
            else:
                due += [(running, order)] if order is not None else []
        await connection.send(*(order for running, order in due if _is_on(connection, running)))

    async def _order(
        self, connection: NodeConnection, running: Running, claimed: Claimed, since: float
    ) -> Assign | None:
        """Return what the node is told to do, if it still is to."""
        # R7: this gateway may have slept, or waited for the database.
        if time.monotonic() - since > self._check_after:
            held = await patiently(lambda: self._upkeep.find(running.task))
            if held is None or (held.attempt, held.session) != (running.attempt, connection.session.id):
                connection.end(running)
                self._poke()
                return None
        allowed = time_allowed(claimed.timeout_s, seconds_left(claimed.deadline, now()))
        if allowed is not None and allowed <= 0:  # the next round fails the task and frees the slot
            return None
        return Assign(
            claimed.task,
            claimed.attempt,
            claimed.model,
            msgspec.Raw(claimed.input.encode()),
            msgspec.Raw(claimed.parameters.encode()),
            allowed,
        )


def at_once(op: Insert, answer: Inserted, session: SessionRef) -> Claimed:
    """Return a task that was inserted running as what a claim would have returned (R17)."""
    return Claimed(
        task=op.id,
        owner=op.owner,
        lane=op.lane,
        model=op.model,
        attempt=1,
        errors=0,
        losses=0,
        max_attempts=op.max_attempts,
        input=op.input,
        parameters=op.parameters,
        timeout_s=op.timeout_s,
        deadline=op.deadline,
        started_at=answer.created_at,
        session=session.id,
        priority=op.priority,
        rank=answer.rank,
        cost=op.cost,
        weight=op.weight,
    )


def _is_on(connection: NodeConnection, running: Running) -> bool:
    """Tell whether an attempt was neither cancelled nor taken away meanwhile."""
    return connection.running.get(running.task) is running
