"""Keep the answers that clients' idempotency keys stand for (R19).

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the table; older releases do not know it."""
    op.create_table(
        "idempotent_responses",
        sa.Column(
            "owner_id",
            sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql"),
            nullable=False,
        ),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "digest", name=op.f("pk_idempotent_responses")),
    )
    op.create_index(op.f("ix_idempotent_responses_expires_at"), "idempotent_responses", ["expires_at"])


def downgrade() -> None:
    """Drop the table: requests of the last day are no longer recognised."""
    op.drop_table("idempotent_responses")
