"""Give API keys scopes, networks, last use and successors; keep an audit log whose rows are chained.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
KEY_COLUMNS = ("scopes", "networks", "last_used_at", "successor")


def upgrade() -> None:
    """Add what older releases do not know; to them every key holds for all its owner may, from everywhere."""
    op.add_column("api_keys", sa.Column("scopes", sa.Text(), nullable=True))
    op.add_column("api_keys", sa.Column("networks", sa.Text(), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("successor", ID, nullable=True))
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("via", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_log")),
    )
    for column in ("actor", "action", "target"):
        op.create_index(f"ix_audit_log_{column}_seq", "audit_log", [column, "seq"])
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"])
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": ""}])
    # Lists of users filter by what they are, the newest first.
    op.create_index("ix_users_role_id", "users", ["role", "id"])
    op.create_index("ix_users_tier_id", "users", ["tier", "id"])


def downgrade() -> None:
    """Drop it all. Keys that were made for less would do everything from then on, so they end."""
    op.execute(
        "UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP "
        "WHERE revoked_at IS NULL AND (scopes IS NOT NULL OR networks IS NOT NULL)"
    )
    op.drop_index("ix_users_tier_id", "users")
    op.drop_index("ix_users_role_id", "users")
    op.drop_table("audit_head")
    op.drop_table("audit_log")
    for column in reversed(KEY_COLUMNS):
        op.drop_column("api_keys", column)
