"""Let identical tasks of one owner share one execution (R20).

Revision: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

INDEXES = {
    "ix_tasks_same": (
        ["owner_id", "input_hash"],
        "deterministic AND leader_id IS NULL AND status IN ('queued', 'waiting', 'running')",
    ),
    "ix_tasks_followers": (["leader_id"], "leader_id IS NOT NULL"),
}


def upgrade() -> None:
    """Mark leaders; make the indexes that find leaders and followers, on PostgreSQL beside running gateways."""
    postgres = op.get_context().dialect.name != "sqlite"
    if postgres:  # a busy table must not make everybody wait behind this
        op.execute("SET LOCAL lock_timeout = '2s'")
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("tasks")}
    if "followed" not in columns:  # a try that failed at the indexes has left it
        column: sa.Column[bool] = sa.Column(
            "followed", sa.Boolean(), server_default=sa.false(), nullable=False
        )
        op.add_column("tasks", column)
    if postgres:
        with op.get_context().autocommit_block():
            make_indexes()
    else:
        make_indexes()


def make_indexes() -> None:
    """Make the indexes; safe to repeat, since it drops what a failed try has left."""
    for name, (columns, where) in INDEXES.items():
        condition = sa.text(where)
        op.drop_index(name, "tasks", if_exists=True)
        op.create_index(
            name,
            "tasks",
            columns,
            postgresql_where=condition,
            sqlite_where=condition,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Drop them; followers that wait are queued, each for itself."""
    op.execute(
        "UPDATE tasks SET status = 'queued', wait_reason = NULL, leader_id = NULL"
        " WHERE status = 'waiting' AND leader_id IS NOT NULL"
    )
    for name in INDEXES:
        op.drop_index(name, "tasks")
    op.drop_column("tasks", "followed")
