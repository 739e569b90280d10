"""What a gateway does for the queue from time to time: sessions, lost tasks, due tasks (R2-R7, R15).

Reads are plain; whatever changes a task goes through the journal and is decided there, in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from neurogrid.core.db import Database
from neurogrid.core.ids import new_id
from neurogrid.queue.ops import Guard, Requeue, SessionRef
from neurogrid.queue.policy import Charge, Charges, RetryPolicy
from neurogrid.queue.tables import Lane, LaneClock, NodeSession, Task

OVERDUE_LIMIT = 1000
PROMOTE_LIMIT = 1000
SWEEP_LIMIT = 1000
LANE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Held:
    """A running task as the database sees it."""

    task: str
    attempt: int
    session: str
    lane: str
    model: str
    owner: str
    charges: Charges
    deadline: datetime | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class LaneInfo:
    """A lane with requirements: ``requires`` is JSON."""

    lane: str
    model: str
    requires: str


class Upkeep:
    """Sessions and the care of the queue, for one gateway."""

    def __init__(self, database: Database, gateway: str, lease: float, policy: RetryPolicy) -> None:
        """Act for ``gateway``; sessions get leases of ``lease`` seconds."""
        self._database = database
        self._gateway = gateway
        self._lease = lease
        self._policy = policy

    async def attach(self, node_id: str, node: str, session: str | None, *, embedded: bool) -> SessionRef:
        """Give the node a session: the one it held, one generation later, if it still exists (R3)."""
        async with self._database.transaction() as transaction:
            if session is not None:
                renewed = await transaction.execute(
                    update(NodeSession)
                    .where(NodeSession.id == session, NodeSession.node_id == node_id)
                    .values(
                        gen=NodeSession.gen + 1,
                        gateway=self._gateway,
                        lease_until=self._database.clock(self._lease),
                    )
                    .returning(NodeSession.gen)
                )
                gen = renewed.scalar_one_or_none()
                if gen is not None:
                    return SessionRef(session, gen, node)
            fresh = SessionRef(new_id(), 1, node)
            table = NodeSession.__table__
            await transaction.execute(
                table.insert().values(  # type: ignore[attr-defined]
                    id=fresh.id,
                    node_id=node_id,
                    gateway=self._gateway,
                    gen=fresh.gen,
                    embedded=embedded,
                    lease_until=self._database.clock(self._lease),
                )
            )
            return fresh

    async def expire_embedded(self) -> None:
        """End the sessions of embedded nodes: their process was the one that stopped before this one.

        Only for SQLite, which a single gateway process uses.
        """
        async with self._database.transaction() as transaction:
            await transaction.execute(
                update(NodeSession).where(NodeSession.embedded).values(lease_until=self._database.clock(-1))
            )

    async def held(self, sessions: Sequence[str]) -> list[Held]:
        """Return the tasks that run under ``sessions``."""
        if not sessions:
            return []
        where = (Task.status == "running") & Task.session_id.in_(sessions)
        return [_held(row) for row in await self._database.all(_HELD.where(where))]

    async def find(self, task: str) -> Held | None:
        """Return a task if it runs."""
        row = await self._database.first(_HELD.where(Task.id == task, Task.status == "running"))
        return _held(row) if row else None

    async def expired(self, *, embedded: bool = False) -> tuple[list[Requeue], list[SessionRef]]:
        """Return the moves that take tasks from sessions whose lease ran out, and those sessions (R4).

        ``embedded`` asks only for those of embedded nodes.
        """
        statement = (
            select(NodeSession.id, NodeSession.gen)
            .where(NodeSession.lease_until < self._database.clock())
            .limit(SWEEP_LIMIT)
        )
        if embedded:
            statement = statement.where(NodeSession.embedded)
        sessions = [SessionRef(row["id"], row["gen"], "") for row in await self._database.all(statement)]
        by_id = {session.id: session for session in sessions}
        lost = await self.held(list(by_id))
        return [self.lost(task, Guard.EXPIRED, by_id[task.session]) for task in lost], sessions

    async def orphans(self) -> list[Requeue]:
        """Return the moves that take back running tasks whose session does not exist (R4)."""
        exists = select(NodeSession.id).where(NodeSession.id == Task.session_id).exists()
        where = (Task.status == "running") & or_(Task.session_id.is_(None), ~exists)
        rows = await self._database.all(_HELD.where(where).limit(SWEEP_LIMIT))
        return [self.lost(_held(row), Guard.ORPHANED, None) for row in rows]

    async def unsettled(self) -> list[str]:
        """Return tasks that are over and yet have followers that wait for them (R20)."""
        follower = aliased(Task)
        waits = (follower.status == "waiting") & follower.leader_id.is_not(None)
        rows = await self._database.all(
            select(Task.id)
            .distinct()
            .join(follower, follower.leader_id == Task.id)
            .where(waits, Task.status.in_(("completed", "failed", "canceled")))
            .limit(SWEEP_LIMIT)
        )
        return [row["id"] for row in rows]

    async def held_back(self) -> list[str]:
        """Return owners of tasks that wait until fewer of theirs run (LIM-3)."""
        waits = (Task.status == "waiting") & (Task.wait_reason == literal_column("'concurrency'"))
        rows = await self._database.all(select(Task.owner_id).where(waits).distinct().limit(SWEEP_LIMIT))
        return [row["owner_id"] for row in rows]

    def lost(self, task: Held, guard: Guard, session: SessionRef | None) -> Requeue:
        """Return the move of a task whose node is lost."""
        again = self._policy.after(Charge.LOSS, task.charges)
        return Requeue(
            task.task,
            task.attempt,
            again.status,
            again.charge,
            "node_lost",
            error=NODES_LOST if again.dead else None,
            guard=guard,
            session=session,
        )

    async def promote(self) -> list[str]:
        """Make waiting tasks claimable whose time has come; return their lanes."""
        due = select(Task.id).where(Task.status == "waiting", Task.run_at <= self._database.clock())
        if await self._database.first(due.limit(1)) is None:
            return []
        clock = (
            select(LaneClock.rank)
            .where(LaneClock.lane == Task.lane, LaneClock.class_ == Task.class_)
            .scalar_subquery()
        )
        statement = (
            update(Task)
            .where(Task.id.in_(due.limit(PROMOTE_LIMIT).with_for_update(skip_locked=True)))
            # It may have waited for longer than floors lie in the past (R16).
            .values(
                status="queued",
                wait_reason=None,
                run_at=None,
                rank=case((clock > Task.rank, clock), else_=Task.rank),
            )
            .returning(Task.lane)
        )
        async with self._database.transaction() as transaction:
            return sorted(set((await transaction.execute(statement)).scalars()))

    async def sync_clocks(self, changed: Mapping[tuple[str, int], float]) -> dict[tuple[str, int], float]:
        """Bring virtual times forward that moved here, and return those of all lanes and classes (R17)."""
        if changed:
            insert = sqlite.insert if self._database.sqlite else postgresql.insert
            rows = [
                {"lane": lane, "class": priority, "rank": rank}
                for (lane, priority), rank in sorted(changed.items())
            ]
            statement = insert(LaneClock).values(rows)
            later = statement.excluded.rank > LaneClock.rank
            async with self._database.transaction() as transaction:
                await transaction.execute(
                    statement.on_conflict_do_update(
                        index_elements=[LaneClock.lane, LaneClock.class_],
                        set_={"rank": statement.excluded.rank},
                        where=later,
                    )
                )
        clocks = await self._database.all(select(LaneClock.lane, LaneClock.class_, LaneClock.rank))
        return {(row["lane"], row["class"]): row["rank"] for row in clocks}

    async def overdue(self) -> list[str]:
        """Return unfinished tasks whose deadline has passed."""
        live = Task.status.in_(("queued", "waiting", "running"))
        late = select(Task.id).where(live, Task.deadline <= self._database.clock()).order_by(Task.deadline)
        return [row["id"] for row in await self._database.all(late.limit(OVERDUE_LIMIT))]

    async def know_lane(self, lane: LaneInfo) -> None:
        """Remember a lane with requirements, so that every gateway learns of it."""
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        statement = insert(Lane).values(lane=lane.lane, model=lane.model, requires=lane.requires)
        async with self._database.transaction() as transaction:
            await transaction.execute(statement.on_conflict_do_nothing())

    async def lanes(self, after: str = "") -> list[LaneInfo]:
        """Return lanes with requirements in which tasks are queued: the first ``LANE_LIMIT`` after ``after``."""
        queued = select(Task.id).where(Task.status == "queued", Task.lane == Lane.lane).exists()
        rows = await self._database.all(
            select(Lane.lane, Lane.model, Lane.requires)
            .where(Lane.lane > after, queued)
            .order_by(Lane.lane)
            .limit(LANE_LIMIT)
        )
        return [LaneInfo(row["lane"], row["model"], row["requires"]) for row in rows]


NODES_LOST = '{"code":"nodes_lost","message":"Every node that ran this task was lost while running it."}'
_HELD = select(
    Task.id,
    Task.attempt,
    Task.session_id,
    Task.lane,
    Task.model,
    Task.owner_id,
    Task.errors,
    Task.losses,
    Task.max_attempts,
    Task.deadline,
    Task.node,
)


def _held(row: Any) -> Held:
    return Held(
        row["id"],
        row["attempt"],
        row["session_id"] or "",
        row["lane"],
        row["model"],
        row["owner_id"],
        Charges(row["errors"], row["losses"], row["max_attempts"]),
        row["deadline"],
        row["node"],
    )
