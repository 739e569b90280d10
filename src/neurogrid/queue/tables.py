"""Tasks, their events, and the leases under which they run.

JSON is kept as text (ADR 0002). No foreign keys lead from here to users or nodes: the check would lock
those rows in every batch of the journal.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, Date, Index, Integer, SmallInteger, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from neurogrid.core.db import Base, Id, UtcDateTime

QUEUED = text("status = 'queued'")
WAITING = text("status = 'waiting'")
RUNNING = text("status = 'running'")
LIVE = text("status IN ('queued', 'waiting', 'running')")
LIMITED = text("status IN ('queued', 'waiting', 'running') AND deadline IS NOT NULL")
DEAD = text("dead_letter")
LEADING = text("deterministic AND leader_id IS NULL AND status IN ('queued', 'waiting', 'running')")
FOLLOWING = text("leader_id IS NOT NULL")
COUNTED = text("status = 'running' AND at_once IS NOT NULL")
HELD = text("wait_reason = 'concurrency'")
# Rows are updated twice in their life; room on the page keeps those updates local (R13).
TASK_STORAGE = {
    "fillfactor": "70",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_analyze_scale_factor": "0.02",
}


class Task(Base):
    """One AI task, from submission for ever. ``attempt`` is the fence (R1).

    ``class`` is 0 high, 1 normal, 2 low; the order of service is ``(class, rank, id)``. ``final_seq`` is the
    sequence number of the final event; a large output lies in ``task_outputs`` (``output_apart``).
    ``leader_id`` is the identical task whose execution this one shares, and whose large output it has;
    ``followed`` says that there may be such tasks (R20). ``at_once`` is how many tasks of its owner's run together
    at most, by the owner's tier when it was submitted; null: any number (LIM-3). ``key_id`` is the API key it was
    submitted by, if one was.
    """

    __tablename__ = "tasks"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    owner_id: Mapped[str] = mapped_column(Id)
    key_id: Mapped[str | None] = mapped_column(Id)
    status: Mapped[str] = mapped_column(Text)
    lane: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    model_version: Mapped[str] = mapped_column(Text)
    class_: Mapped[int] = mapped_column("class", SmallInteger)
    rank: Mapped[float]
    cost: Mapped[float]
    weight: Mapped[float]
    at_once: Mapped[int | None]
    input: Mapped[str] = mapped_column(Text)
    parameters: Mapped[str] = mapped_column(Text)
    requires: Mapped[str | None] = mapped_column(Text)
    metadata_: Mapped[str | None] = mapped_column("metadata", Text)
    input_hash: Mapped[str] = mapped_column(Text)
    deterministic: Mapped[bool]
    cached: Mapped[bool]
    on_disconnect: Mapped[str] = mapped_column(Text)
    timeout_s: Mapped[float | None]
    deadline: Mapped[datetime | None] = mapped_column(UtcDateTime)
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    attempt: Mapped[int]
    errors: Mapped[int] = mapped_column(SmallInteger)
    losses: Mapped[int] = mapped_column(SmallInteger)
    dead_letter: Mapped[bool]
    session_id: Mapped[str | None] = mapped_column(Id)
    node: Mapped[str | None] = mapped_column(Text)
    write_id: Mapped[str | None] = mapped_column(Id)
    wait_reason: Mapped[str | None] = mapped_column(Text)
    run_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    leader_id: Mapped[str | None] = mapped_column(Id)
    followed: Mapped[bool] = mapped_column(server_default=false())
    workflow_id: Mapped[str | None] = mapped_column(Id)
    batch_id: Mapped[str | None] = mapped_column(Id)
    final_seq: Mapped[int | None]
    output: Mapped[str | None] = mapped_column(Text)
    output_apart: Mapped[bool]
    error: Mapped[str | None] = mapped_column(Text)
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    compute_seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'waiting', 'running', 'completed', 'failed', 'canceled')", name="status"
        ),
        CheckConstraint("attempt >= 1", name="attempt"),
        Index("ix_tasks_claim", "lane", "class", "rank", "id", postgresql_where=QUEUED, sqlite_where=QUEUED),
        Index("ix_tasks_due", "run_at", postgresql_where=WAITING, sqlite_where=WAITING),
        Index("ix_tasks_session", "session_id", postgresql_where=RUNNING, sqlite_where=RUNNING),
        Index("ix_tasks_live", "owner_id", "lane", "class", "rank", postgresql_where=LIVE, sqlite_where=LIVE),
        Index("ix_tasks_owner", "owner_id", "id"),
        Index("ix_tasks_deadline", "deadline", postgresql_where=LIMITED, sqlite_where=LIMITED),
        Index("ix_tasks_same", "owner_id", "input_hash", postgresql_where=LEADING, sqlite_where=LEADING),
        Index("ix_tasks_followers", "leader_id", postgresql_where=FOLLOWING, sqlite_where=FOLLOWING),
        Index("ix_tasks_running", "owner_id", postgresql_where=COUNTED, sqlite_where=COUNTED),
        Index(
            "ix_tasks_held",
            "owner_id",
            "status",
            "lane",
            "class",
            "rank",
            "id",
            postgresql_where=HELD,
            sqlite_where=HELD,
        ),
        Index("ix_tasks_dead", "owner_id", "id", postgresql_where=DEAD, sqlite_where=DEAD),
        {"postgresql_with": TASK_STORAGE},
    )


class TaskOutput(Base):
    """An output too large for its task's row, written before the row that points to it (R12)."""

    __tablename__ = "task_outputs"

    task_id: Mapped[str] = mapped_column(Id, primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    output: Mapped[str] = mapped_column(Text)


class TaskEvent(Base):
    """A change of state, for ever. ``data`` is JSON; ``(xid, task_id, attempt, seq)`` orders an owner's
    events so that a late commit cannot be passed over (R25).
    """

    __tablename__ = "task_events"

    task_id: Mapped[str] = mapped_column(Id, primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner_id: Mapped[str] = mapped_column(Id)
    xid: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    data: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_task_events_owner", "owner_id", "xid", "task_id", "attempt", "seq"),)


class NodeSession(Base):
    """A node's lease (R2). ``gen`` rises each time the node attaches to a gateway (R3)."""

    __tablename__ = "node_sessions"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    node_id: Mapped[str] = mapped_column(Id, index=True)
    gateway: Mapped[str] = mapped_column(Id)
    gen: Mapped[int]
    embedded: Mapped[bool]
    lease_until: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Lane(Base):
    """A queue within the queue: a model and what its tasks require of a node (R15). ``requires`` is JSON."""

    __tablename__ = "lanes"

    lane: Mapped[str] = mapped_column(Text, primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    requires: Mapped[str] = mapped_column(Text)


class IdempotencyKey(Base):
    """The answer a client's key stands for (R19)."""

    __tablename__ = "idempotency_keys"

    owner_id: Mapped[str] = mapped_column(Id, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    body_hash: Mapped[str] = mapped_column(Text)
    task_id: Mapped[str] = mapped_column(Id)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class _Charge:
    """Columns of what was used: by whom, by which key (``usage.NO_KEY``: none), of which model, on which day (UTC).

    ``requests`` are tasks accepted that day; the rest is of attempts that ended that day, ``compute_us`` in microseconds,
    whole ones, so that sums do not depend on their order.
    """

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    user_id: Mapped[str] = mapped_column(Id)
    key_id: Mapped[str] = mapped_column(Id)
    model: Mapped[str] = mapped_column(Text)
    day: Mapped[date] = mapped_column(Date)
    requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    compute_us: Mapped[int] = mapped_column(BigInteger)


class UsageDelta(_Charge, Base):
    """What a batch of the journal adds to the usage of a day, written in its transaction (ADR 0015).

    Rows are only ever added here, so that gateways wait for nobody; the roll-up takes them away into the days.
    """

    __tablename__ = "usage_deltas"
    __table_args__ = (Index("ix_usage_deltas_user_id", "user_id"),)


class UsageArchive(_Charge, Base):
    """What was charged for tasks whose rows no longer say so: deleted, or run again. Only for reconciliation."""

    __tablename__ = "usage_archive"


class LaneClock(Base):
    """The virtual time of a lane and class: the rank that was claimed last, about a second ago (R17)."""

    __tablename__ = "lane_clock"

    lane: Mapped[str] = mapped_column(Text, primary_key=True)
    class_: Mapped[int] = mapped_column("class", SmallInteger, primary_key=True, autoincrement=False)
    rank: Mapped[float]


class SchemaMeta(Base):
    """Facts about the schema itself; ``min_app`` is the oldest release that may use it (R30)."""

    __tablename__ = "schema_meta"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
