"""What operators say of nodes and of the tokens by which they join.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Give nodes a time to leave by, tokens a scope and the time of their last use."""
    op.add_column("nodes", sa.Column("drain_until", MOMENT, nullable=True))
    op.add_column("node_tokens", sa.Column("node", sa.Text(), nullable=True))
    op.add_column("node_tokens", sa.Column("models", sa.Text(), nullable=True))
    op.add_column("node_tokens", sa.Column("last_used_at", MOMENT, nullable=True))


def downgrade() -> None:
    """Forget them."""
    op.drop_column("node_tokens", "last_used_at")
    op.drop_column("node_tokens", "models")
    op.drop_column("node_tokens", "node")
    op.drop_column("nodes", "drain_until")
