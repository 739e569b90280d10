"""Where the private PostgreSQL and Valkey of ``neurogrid up --servers`` are, for the other commands on its data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from neurogrid.cli.failures import UNREACHABLE, Failure

if TYPE_CHECKING:
    from neurogrid.core.settings import Settings

NOTE = "servers.json"


def note(data_dir: Path, *, database_url: str, redis_url: str) -> None:
    """Leave a note in the data directory. It stays when the servers stop, since the data stay in them."""
    fresh = data_dir / f"{NOTE}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps({"database_url": database_url, "redis_url": redis_url}))
    fresh.replace(data_dir / NOTE)


def forget(data_dir: Path) -> None:
    """Take the note away: the data directory is used with SQLite now."""
    (data_dir / NOTE).unlink(missing_ok=True)


def found(settings: Settings) -> Settings:
    """Return settings that lead to the servers noted in the data directory, unless they name a database."""
    if settings.database_url is not None:
        return settings
    try:
        noted = orjson.loads((settings.data_dir / NOTE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return settings
    except orjson.JSONDecodeError:
        hint = "Remove it and restart `neurogrid up --servers`."
        raise Failure(f"{settings.data_dir / NOTE} is damaged", hint=hint) from None
    from pydantic import SecretStr

    redis_url = settings.redis_url or SecretStr(noted["redis_url"])
    return settings.model_copy(
        update={"database_url": SecretStr(noted["database_url"]), "redis_url": redis_url}
    )


def are_used(settings: Settings) -> bool:
    """Tell whether ``settings`` lead to the servers noted in the data directory, which only ``up`` starts."""
    return found(settings.model_copy(update={"database_url": None})).database_url == settings.database_url


def require_running(url: str) -> None:
    """Raise ``Failure`` when ``url`` leads to a socket of PostgreSQL that is not there."""
    from sqlalchemy import make_url

    folder = make_url(url).query.get("host", "")
    if isinstance(folder, str) and folder.startswith("/") and not list(Path(folder).glob(".s.PGSQL.*")):
        hint = "Start it by `neurogrid up --servers`, or name another database by NEUROGRID_DATABASE_URL."
        raise Failure(f"PostgreSQL does not run: there is no socket in {folder}", hint=hint, code=UNREACHABLE)
