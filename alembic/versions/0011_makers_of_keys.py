"""Say which key made a key.

Revision: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Add what older releases do not know. Of keys that exist nobody knows any longer which key made them."""
    op.add_column("api_keys", sa.Column("made_by", ID, nullable=True))
    op.create_index("ix_api_keys_made_by", "api_keys", ["made_by"])


def downgrade() -> None:
    """Forget it."""
    op.drop_index("ix_api_keys_made_by", "api_keys")
    op.drop_column("api_keys", "made_by")
