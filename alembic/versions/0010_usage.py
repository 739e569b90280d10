"""Keep what each user, key and model used on each day, quotas, and who was told of them.

Revision: 0010
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NO_KEY = "00000000-0000-0000-0000-000000000000"
PLACE = ("user_id", "key_id", "model", "day")
FIGURES = ("requests", "prompt_tokens", "completion_tokens", "compute_us")


def upgrade() -> None:
    """Make the tables, and enter what there is: tasks that older releases write meanwhile are missing from the days
    until `neurogrid usage reconcile --fix`.
    """
    if op.get_context().dialect.name != "sqlite":  # a busy table must not make everybody wait behind this
        op.execute("SET LOCAL lock_timeout = '2s'")
    op.add_column("tasks", sa.Column("key_id", ID, nullable=True))
    for name in ("usage_deltas", "usage_archive"):
        op.create_table(
            name,
            sa.Column("id", SERIAL, autoincrement=True, nullable=False),
            *_charge(),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        )
    op.create_index("ix_usage_deltas_user_id", "usage_deltas", ["user_id"])
    op.create_table("usage_days", *_charge(), sa.PrimaryKeyConstraint(*_ORDER, name=op.f("pk_usage_days")))
    op.create_index("ix_usage_days_day", "usage_days", ["day"])
    op.create_table(
        "user_quotas",
        sa.Column("user_id", ID, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("tasks", "tokens", "compute_seconds")),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_quotas")),
    )
    op.create_table(
        "quota_notices",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("percent", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("quota", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "month", "kind", "percent", name=op.f("pk_quota_notices")),
    )
    _enter()


_ORDER = ("user_id", "day", "key_id", "model")


def _charge() -> list[sa.Column[Any]]:
    return [
        sa.Column("user_id", ID, nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in FIGURES),
    ]


def _enter() -> None:
    """Enter the tasks that exist, none of which names its key."""
    if op.get_context().dialect.name == "sqlite":
        day, compute = "date({})", "CAST(compute_seconds * 1e6 + 0.5 AS INTEGER)"
    else:
        day, compute = (
            "({} AT TIME ZONE 'UTC')::date",
            "floor(compute_seconds * 1e6::float8 + 0.5::float8)::bigint",
        )
    names = ", ".join((*PLACE, *FIGURES))
    op.execute(f"""
        INSERT INTO usage_days ({names})
        SELECT {", ".join(PLACE)}, {", ".join(f"sum({name})" for name in FIGURES)} FROM (
            SELECT owner_id AS user_id, {_no_key()} AS key_id, model, {day.format("created_at")} AS day,
                1 AS requests, 0 AS prompt_tokens, 0 AS completion_tokens, 0 AS compute_us
            FROM tasks
            UNION ALL
            SELECT owner_id, {_no_key()}, model, {day.format("finished_at")}, 0, prompt_tokens, completion_tokens,
                {compute}
            FROM tasks WHERE finished_at IS NOT NULL AND leader_id IS NULL
        ) u GROUP BY {", ".join(PLACE)}
    """)


def _no_key() -> str:
    cast = "" if op.get_context().dialect.name == "sqlite" else "::uuid"
    return f"'{NO_KEY}'{cast}"


def downgrade() -> None:
    """Forget it all."""
    for name in ("quota_notices", "user_quotas", "usage_days", "usage_archive", "usage_deltas"):
        op.drop_table(name)
    op.drop_column("tasks", "key_id")
