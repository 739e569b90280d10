"""Where the secret key comes from, and what production does not start with."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import make_url

from neurogrid.core.crypto import Keyring
from neurogrid.core.settings import Environment, Settings

FILE = "secret_key"
_GUESSABLE = frozenset(
    {
        "",
        "admin",
        "changeme",
        "default",
        "guest",
        "neurogrid",
        "password",
        "postgres",
        "redis",
        "root",
        "secret",
        "test",
    }
)
_PLACEHOLDERS = (
    "changeme",
    "change-me",
    "change_me",
    "your-secret",
    "your_secret",
    "replace",
    "example",
    "insecure",
)
_DIFFERENT = 10
"""Different characters that a random key of 32 has at the very least."""


class UnsafeForProduction(ValueError):
    """The settings are not fit for production; the text says which and what to do."""


def with_secret_key(settings: Settings) -> Settings:
    """Return ``settings`` with a secret key: the given one, else that of the data directory, made if need be.

    Raises ``UnsafeForProduction``, and ``ValueError`` where the file holds no key.
    """
    check_production(settings)
    if settings.secret_key is not None:
        return settings
    return settings.model_copy(update={"secret_key": SecretStr(_of_directory(settings.data_dir))})


def keyring_of(settings: Settings) -> Keyring:
    """Return the keys of ``settings``; without any, one that ends with the process.

    Raises ``UnsafeForProduction``: a gateway needs keys, however it is started.
    """
    check_production(settings)
    if settings.secret_key is None:
        return Keyring.ephemeral()
    keys = (settings.secret_key, *settings.auth.previous_secret_keys)
    return Keyring([key.get_secret_value().encode() for key in keys])


def check_production(settings: Settings) -> None:
    """Refuse what would be unsafe in production. Raises ``UnsafeForProduction``."""
    if settings.env is not Environment.PRODUCTION:
        return
    if settings.secret_key is None:
        raise UnsafeForProduction(
            "production takes a NEUROGRID_SECRET_KEY; make one by `openssl rand -base64 48`"
        )
    for key in (settings.secret_key, *settings.auth.previous_secret_keys):
        if _is_guessable(key.get_secret_value()):
            raise UnsafeForProduction(
                "NEUROGRID_SECRET_KEY can be guessed; make one by `openssl rand -base64 48`"
            )
    for name, url in (
        ("NEUROGRID_DATABASE_URL", settings.effective_database_url),
        ("NEUROGRID_REDIS_URL", settings.redis_url.get_secret_value() if settings.redis_url else None),
    ):
        password = make_url(url).password if url else None
        if password is not None and password.lower() in _GUESSABLE:
            raise UnsafeForProduction(f"the password in {name} is a default one; set another")
    if settings.oauth.providers and not (settings.public_url or "").startswith("https://"):
        raise UnsafeForProduction(
            "sign-in by providers takes a NEUROGRID_PUBLIC_URL that begins with https://, where they send users back to"
        )
    if settings.on_sqlite and settings.redis_url is not None:
        raise UnsafeForProduction(
            "Redis joins several gateways, and those take PostgreSQL: set NEUROGRID_DATABASE_URL, "
            "or leave out NEUROGRID_REDIS_URL for a single gateway on SQLite"
        )


def _is_guessable(key: str) -> bool:
    return len(set(key)) < _DIFFERENT or any(word in key.lower() for word in _PLACEHOLDERS)


def _of_directory(directory: Path) -> str:
    """Return the key in the file of ``directory``, which only its owner may read."""
    path = directory / FILE
    if not path.exists():
        _make(path)
    key = path.read_text().strip()
    if len(key) < len(secrets.token_urlsafe(32)):
        msg = f"{path} holds no secret key; remove it to have one made (everybody is signed out by that)"
        raise ValueError(msg)
    return key


def _make(path: Path) -> None:
    """Write a key whole or not at all; of two processes that do, the first one's stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
