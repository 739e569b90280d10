"""Choose the journal's writer for a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurogrid.core.sabotage import Protection
from neurogrid.queue.hasty import HastyJournal
from neurogrid.queue.journal import Journal

if TYPE_CHECKING:
    from neurogrid.core.db import Database
    from neurogrid.core.settings import JournalSettings
    from neurogrid.queue.writer import Writer


def make_journal(database: Database, settings: JournalSettings, off: Protection | None = None) -> Journal:
    """Return the journal of ``database``, without the protection that is switched ``off``.

    The drivers are imported here, so that only one is loaded.
    """
    writer: Writer
    if database.sqlite:
        from neurogrid.queue.sqlite import SqliteWriter  # noqa: PLC0415

        writer = SqliteWriter(database.url.database or "", database.write_lock)
    else:
        from neurogrid.queue.postgres import PostgresWriter  # noqa: PLC0415

        writer = PostgresWriter(database.url, fenced=off is not Protection.FENCE)
    return (HastyJournal if off is Protection.COMMIT else Journal)(writer, settings)
