"""The first schema: users, keys, nodes, tasks, events.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


ID = sa.String(36).with_variant(sa.UUID(as_uuid=False), "postgresql")
MOMENT = sa.DateTime(timezone=True)
TABLES = (
    "api_keys", "users", "tasks", "task_outputs", "task_events", "schema_meta", "lane_clock", "nodes",
    "node_tokens", "node_sessions", "lanes", "idempotency_keys",
)  # fmt: skip


def partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    """Index only the rows that satisfy ``where``."""
    condition = sa.text(where)
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "idempotency_keys",
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("task_id", ID, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])
    op.create_table(
        "lanes",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("requires", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("lane", name="pk_lanes"),
    )
    op.create_table(
        "node_sessions",
        sa.Column("id", ID, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("gateway", ID, nullable=False),
        sa.Column("gen", sa.Integer(), nullable=False),
        sa.Column("embedded", sa.Boolean(), nullable=False),
        sa.Column("lease_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_node_sessions"),
    )
    op.create_index("ix_node_sessions_lease_until", "node_sessions", ["lease_until"])
    op.create_index("ix_node_sessions_node_id", "node_sessions", ["node_id"])
    op.create_table(
        "node_tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_node_tokens"),
        sa.UniqueConstraint("hash", name="uq_node_tokens_hash"),
    )
    op.create_table(
        "nodes",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("registered_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.UniqueConstraint("name", name="uq_nodes_name"),
    )
    op.create_table(
        "lane_clock",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("class", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "class", name="pk_lane_clock"),
    )
    op.create_table(
        "schema_meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_schema_meta"),
    )
    op.create_table(
        "task_events",
        sa.Column("task_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "attempt", "seq", name="pk_task_events"),
    )
    op.create_index("ix_task_events_owner", "task_events", ["owner_id", "xid", "task_id", "attempt", "seq"])
    op.create_table(
        "task_outputs",
        sa.Column("task_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "attempt", name="pk_task_outputs"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", ID, nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("class", sa.SmallInteger(), nullable=False),
        sa.Column("rank", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("requires", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("input_hash", sa.Text(), nullable=False),
        sa.Column("deterministic", sa.Boolean(), nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("on_disconnect", sa.Text(), nullable=False),
        sa.Column("timeout_s", sa.Double(), nullable=True),
        sa.Column("deadline", MOMENT, nullable=True),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("errors", sa.SmallInteger(), nullable=False),
        sa.Column("losses", sa.SmallInteger(), nullable=False),
        sa.Column("dead_letter", sa.Boolean(), nullable=False),
        sa.Column("session_id", ID, nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("write_id", ID, nullable=True),
        sa.Column("wait_reason", sa.Text(), nullable=True),
        sa.Column("run_at", MOMENT, nullable=True),
        sa.Column("leader_id", ID, nullable=True),
        sa.Column("workflow_id", ID, nullable=True),
        sa.Column("batch_id", ID, nullable=True),
        sa.Column("final_seq", sa.Integer(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("output_apart", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("compute_seconds", sa.Double(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'waiting', 'running', 'completed', 'failed', 'canceled')",
            name="ck_tasks_status",
        ),
        sa.CheckConstraint("attempt >= 1", name="ck_tasks_attempt"),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        postgresql_with={
            "fillfactor": "70",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_analyze_scale_factor": "0.02",
        },
    )
    partial_index("ix_tasks_claim", "tasks", ["lane", "class", "rank", "id"], "status = 'queued'")
    partial_index("ix_tasks_due", "tasks", ["run_at"], "status = 'waiting'")
    partial_index(
        "ix_tasks_live",
        "tasks",
        ["owner_id", "lane", "class", "rank"],
        "status IN ('queued', 'waiting', 'running')",
    )
    op.create_index("ix_tasks_owner", "tasks", ["owner_id", "id"])
    partial_index("ix_tasks_session", "tasks", ["session_id"], "status = 'running'")
    op.create_table(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "api_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("hash", name="uq_api_keys_hash"),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"])
    op.execute("INSERT INTO schema_meta (key, value) VALUES ('min_app', '0.1.0')")


def downgrade() -> None:
    """Drop everything: there is no older release."""
    for table in TABLES:
        op.drop_table(table)
