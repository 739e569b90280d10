"""Let each task say how many of its owner's may run at once; keep those that wait for it findable.

Revision: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

RUNNING = sa.text("status = 'running' AND at_once IS NOT NULL")
HELD = sa.text("wait_reason = 'concurrency'")


def upgrade() -> None:
    """Add what older releases do not know: they hold nobody back. Of both indexes unlimited tasks are no part."""
    op.add_column("tasks", sa.Column("at_once", sa.Integer(), nullable=True))
    op.create_index("ix_tasks_running", "tasks", ["owner_id"], postgresql_where=RUNNING, sqlite_where=RUNNING)
    columns = ["owner_id", "status", "lane", "class", "rank", "id"]
    op.create_index("ix_tasks_held", "tasks", columns, postgresql_where=HELD, sqlite_where=HELD)


def downgrade() -> None:
    """Let go of those that are held back, and forget why they were."""
    op.execute(
        "UPDATE tasks SET status = 'queued', wait_reason = NULL "
        "WHERE status = 'waiting' AND wait_reason = 'concurrency'"
    )
    op.drop_index("ix_tasks_held", "tasks")
    op.drop_index("ix_tasks_running", "tasks")
    op.drop_column("tasks", "at_once")
