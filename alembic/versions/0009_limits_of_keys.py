"""Let API keys have limits of their own.

Revision: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
LIMITS = ("requests_per_minute", "requests_per_hour", "tasks_per_hour")


def upgrade() -> None:
    """Add what older releases do not know; to them keys are limited by their users' tiers alone."""
    for column in LIMITS:
        op.add_column("api_keys", sa.Column(column, sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("counted_as", ID, nullable=True))


def downgrade() -> None:
    """Drop the limits. Keys that were made for less would do more from then on, so they end."""
    limited = " OR ".join(f"{column} IS NOT NULL" for column in LIMITS)
    op.execute(f"UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP WHERE revoked_at IS NULL AND ({limited})")
    for column in (*LIMITS, "counted_as"):
        op.drop_column("api_keys", column)
