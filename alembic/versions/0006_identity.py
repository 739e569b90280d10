"""Keep sessions, one-time tokens, invitations, mails, and what users sign in with.

Revision: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
TABLES = (
    "auth_sessions",
    "refresh_tokens",
    "one_time_tokens",
    "invitations",
    "sign_in_failures",
    "mails",
    "user_totp",
    "recovery_codes",
    "passkeys",
    "oauth_identities",
)


def upgrade() -> None:
    """Make the tables; older releases do not know them. Accounts of before were made by operators, who vouch."""
    op.add_column("users", moment("email_verified_at", nullable=True))
    op.add_column("users", moment("password_changed_at", nullable=True))
    op.execute("UPDATE users SET email_verified_at = created_at")
    make_sessions()
    make_tokens()
    make_attempts_and_mails()
    make_factors()


def make_sessions() -> None:
    """Make what a sign-in leaves behind."""
    op.create_table(
        "auth_sessions",
        id_column(),
        owner(),
        *texts("methods", "user_agent", "address", "network"),
        *(moment(name) for name in ("created_at", "authenticated_at", "last_used_at", "expires_at")),
        moment("revoked_at", nullable=True),
        sa.Column("ended", sa.Text(), nullable=True),
        *keys("auth_sessions", "id", owner="CASCADE"),
    )
    op.create_index(op.f("ix_auth_sessions_expires_at"), "auth_sessions", ["expires_at"])
    op.create_index("ix_auth_sessions_places", "auth_sessions", ["user_id", "network"])
    living = sa.text("revoked_at IS NULL")
    op.create_index(
        "ix_auth_sessions_living",
        "auth_sessions",
        ["user_id", "last_used_at"],
        postgresql_where=living,
        sqlite_where=living,
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("session_id", ID, nullable=False),
        moment("created_at"),
        moment("expires_at"),
        moment("used_at", nullable=True),
        sa.Column("successor", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_refresh_tokens")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["auth_sessions.id"],
            name=op.f("fk_refresh_tokens_session_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(op.f("ix_refresh_tokens_expires_at"), "refresh_tokens", ["expires_at"])
    op.create_index(op.f("ix_refresh_tokens_session_id"), "refresh_tokens", ["session_id"])


def make_tokens() -> None:
    """Make what is used once."""
    op.create_table(
        "one_time_tokens",
        id_column(),
        owner(nullable=True),
        *texts("purpose", "hash"),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        moment("created_at"),
        moment("expires_at"),
        moment("used_at", nullable=True),
        *keys("one_time_tokens", "id", owner="CASCADE"),
        sa.UniqueConstraint("hash", name=op.f("uq_one_time_tokens_hash")),
    )
    op.create_index(op.f("ix_one_time_tokens_expires_at"), "one_time_tokens", ["expires_at"])
    op.create_index(op.f("ix_one_time_tokens_user_id_purpose"), "one_time_tokens", ["user_id", "purpose"])
    op.create_table(
        "invitations",
        id_column(),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        *texts("role", "tier"),
        moment("created_at"),
        moment("expires_at"),
        moment("used_at", nullable=True),
        sa.Column("used_by", ID, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("hash", name=op.f("uq_invitations_hash")),
        sa.ForeignKeyConstraint(
            ["used_by"], ["users.id"], name=op.f("fk_invitations_used_by"), ondelete="SET NULL"
        ),
    )
    op.create_index(op.f("ix_invitations_used_by"), "invitations", ["used_by"])


def make_attempts_and_mails() -> None:
    """Make the counters of wrong guesses, and the mails to be sent."""
    op.create_table(
        "sign_in_failures",
        *texts("subject", "place"),
        sa.Column("failures", sa.Integer(), nullable=False),
        moment("last_at"),
        moment("blocked_until", nullable=True),
        sa.PrimaryKeyConstraint("subject", "place", name=op.f("pk_sign_in_failures")),
    )
    op.create_index(op.f("ix_sign_in_failures_last_at"), "sign_in_failures", ["last_at"])
    op.create_table(
        "mails",
        id_column(),
        *texts("recipient", "subject"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        moment("created_at"),
        moment("sent_at", nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
    )
    op.create_index(op.f("ix_mails_recipient_created_at"), "mails", ["recipient", "created_at"])
    waiting = sa.text("sent_at IS NULL")
    op.create_index(
        "ix_mails_waiting", "mails", ["created_at"], postgresql_where=waiting, sqlite_where=waiting
    )


def make_factors() -> None:
    """Make what else users sign in with."""
    op.create_table(
        "user_totp",
        owner(),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        moment("created_at"),
        moment("confirmed_at", nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        *keys("user_totp", "user_id", owner="CASCADE"),
    )
    op.create_table(
        "recovery_codes",
        id_column(),
        owner(),
        sa.Column("hash", sa.Text(), nullable=False),
        moment("created_at"),
        moment("used_at", nullable=True),
        *keys("recovery_codes", "id", owner="CASCADE"),
    )
    op.create_index(op.f("ix_recovery_codes_user_id"), "recovery_codes", ["user_id"])
    op.create_table(
        "passkeys",
        id_column(),
        owner(),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        *texts("name", "transports", "aaguid"),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        moment("created_at"),
        moment("last_used_at", nullable=True),
        *keys("passkeys", "id", owner="CASCADE"),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
    )
    op.create_index(op.f("ix_passkeys_user_id"), "passkeys", ["user_id"])
    op.create_table(
        "oauth_identities",
        id_column(),
        owner(),
        *texts("provider", "issuer", "subject"),
        sa.Column("email", sa.Text(), nullable=True),
        moment("created_at"),
        moment("last_used_at", nullable=True),
        *keys("oauth_identities", "id", owner="CASCADE"),
    )
    op.create_index(op.f("ix_oauth_identities_user_id"), "oauth_identities", ["user_id"])
    op.create_index(
        "uq_oauth_identities_issuer_subject", "oauth_identities", ["issuer", "subject"], unique=True
    )


def id_column() -> sa.Column[str]:
    return sa.Column("id", ID, nullable=False)


def owner(*, nullable: bool = False) -> sa.Column[str]:
    return sa.Column("user_id", ID, nullable=nullable)


def moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def keys(table: str, primary: str, *, owner: str) -> list[sa.Constraint]:
    return [
        sa.PrimaryKeyConstraint(primary, name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id"), ondelete=owner),
    ]


def downgrade() -> None:
    """Drop the tables: everybody is signed out, and only passwords and keys are left."""
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("users", "password_changed_at")
    op.drop_column("users", "email_verified_at")
