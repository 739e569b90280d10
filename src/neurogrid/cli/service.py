"""What server-side commands need: settings, and a database that is there and of this release."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from neurogrid.cli.failures import Failure

if TYPE_CHECKING:
    from neurogrid.core.db import Database
    from neurogrid.core.settings import Settings

T = TypeVar("T")


def load_settings(**given: Any) -> Settings:
    """Return the settings; options that are ``None`` do not count. Raises ``Failure`` naming what is wrong."""
    from pydantic import ValidationError

    from neurogrid.core.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "\n  ".join(f"{_variable(each['loc'])}: {each['msg']}" for each in error.errors())
        raise Failure(f"the configuration is wrong\n  {wrong}", hint="See `neurogrid config show`.") from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = "__".join(str(part) for part in location).upper()
    return name if name.startswith("NEUROGRID_") else f"NEUROGRID_{name}"


def with_database(data_dir: Path | None, work: Callable[[Database, Settings], Awaitable[T]]) -> T:
    """Run ``work`` on the database of the settings. Raises ``Failure`` when it is not migrated."""
    from neurogrid.core.db import Database

    settings = load_settings(data_dir=data_dir)
    url = settings.effective_database_url
    require_migrated(url)

    async def run() -> T:
        database = Database(url)
        try:
            return await work(database, settings)
        finally:
            await database.close()

    return asyncio.run(run())


def require_migrated(url: str) -> None:
    """Raise ``Failure`` with the remedy when this release cannot work with the database."""
    from neurogrid import __version__
    from neurogrid.core import migrations

    found = migrations.status(url)
    if found.admits(__version__):
        return
    if found.ahead:
        raise Failure(
            f"the database was migrated by a newer release (it needs {found.min_app or 'a newer one'})",
            hint=f"This is {__version__}: upgrade it.",
        )
    raise Failure("the database is not up to date", hint="Run `neurogrid db upgrade` first.")
