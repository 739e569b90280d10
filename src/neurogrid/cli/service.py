"""What server-side commands need: settings, and a database that is there and of this release."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from neurogrid.cli import own_servers
from neurogrid.cli.failures import Failure

if TYPE_CHECKING:
    from neurogrid.core.db import Database
    from neurogrid.core.settings import Settings

T = TypeVar("T")


def load_settings(**given: Any) -> Settings:
    """Return the settings; options that are ``None`` do not count. Raises ``Failure`` naming what is wrong.

    Where they name no database, it is that of ``neurogrid up --servers`` if that has run on the data directory.
    """
    return own_servers.found(given_settings(**given))


def given_settings(**given: Any) -> Settings:
    """Return the settings as they are given, whatever has run on the data directory."""
    from pydantic import ValidationError

    from neurogrid.core.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "\n  ".join(
            f"{_variable(each['loc'])}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        hint = "See `neurogrid config describe`."
        raise Failure(f"the configuration is wrong\n  {wrong}", hint=hint) from None


def keyed(settings: Settings) -> Settings:
    """Return ``settings`` with the secret key to serve by. Raises ``Failure`` where they are unfit to serve."""
    from neurogrid.core.secret_key import with_secret_key

    try:
        return with_secret_key(settings)
    except ValueError as error:
        raise Failure(str(error), hint="See `neurogrid config describe`.") from None
    except OSError as error:
        hint = "Set NEUROGRID_SECRET_KEY, or name another --data-dir."
        raise Failure(
            f"cannot keep a secret key in {settings.data_dir}: {error.strerror}", hint=hint
        ) from None


def _variable(location: tuple[int | str, ...]) -> str:
    """Return the variable that sets what is at ``location``: of several names those that are set."""
    from pydantic import AliasChoices

    from neurogrid.core.settings import Settings

    name = "__".join(str(part) for part in location).upper()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names = [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else []
        if name in names:
            return " or ".join([each for each in names if each in os.environ] or names)
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

    own_servers.require_running(url)
    found = migrations.status(url)
    if found.admits(__version__):
        return
    if found.ahead:
        raise Failure(
            f"the database was migrated by a newer release (it needs {found.min_app or 'a newer one'})",
            hint=f"This is {__version__}: upgrade it.",
        )
    raise Failure("the database is not up to date", hint="Run `neurogrid db upgrade` first.")
