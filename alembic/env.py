"""What Alembic runs: the tables it compares with, and how a migration is applied.

``neurogrid.core.migrations`` hands its own connection in; the plain ``alembic`` command gets one here, from
the settings and under the same lock.
"""

from __future__ import annotations

import logging.config
from typing import Literal

from alembic import context
from sqlalchemy import Connection

import neurogrid.auth.tables
import neurogrid.idempotency.tables
import neurogrid.nodes.tables
import neurogrid.queue.tables
import neurogrid.usage.tables  # noqa: F401 - each import registers its tables with the metadata
from neurogrid.core import migrations
from neurogrid.core.db import UtcDateTime, metadata
from neurogrid.core.settings import Settings


def render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write column types into a new migration without naming our code, which changes after it."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: Connection) -> None:
    """Run what the command asked for on one connection."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        compare_server_default=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


def write_sql(url: str) -> None:
    """Print the SQL instead of running it (``alembic upgrade --sql``)."""
    context.configure(url=url, target_metadata=metadata, literal_binds=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if context.config.config_file_name is not None:
    logging.config.fileConfig(context.config.config_file_name, disable_existing_loggers=False)

given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
elif context.is_offline_mode():
    write_sql(Settings().effective_database_url)
else:
    migrations.exclusively(Settings().effective_database_url, migrate)
