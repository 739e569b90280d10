"""Find tasks past their deadline, and dead letters, without walking all tasks.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

INDEXES = {
    "ix_tasks_deadline": (
        ["deadline"],
        "status IN ('queued', 'waiting', 'running') AND deadline IS NOT NULL",
    ),
    "ix_tasks_dead": (["owner_id", "id"], "dead_letter"),
}


def upgrade() -> None:
    """Make the indexes; on PostgreSQL beside running gateways, and outside of any transaction."""
    if op.get_context().dialect.name == "sqlite":
        make_indexes()
    else:
        with op.get_context().autocommit_block():
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
    """Drop the indexes."""
    for name in INDEXES:
        op.drop_index(name, "tasks")
