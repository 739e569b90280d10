"""The first admin of ``neurogrid up``, and the file by which the client commands find its key."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from neurogrid.cli.connection import CREDENTIALS, read_credentials

if TYPE_CHECKING:
    from neurogrid.auth.service import AuthService

EMAIL = "admin@localhost"
KEY_NAME = "neurogrid up"


async def ensure_credentials(auth: AuthService, directory: Path, url: str) -> Path:
    """Bring the credentials file in ``directory`` up to date and return its path.

    The account is made on the first start; a key that no longer works is replaced, as is ``url``. Killed in
    the middle, the next start completes what is missing.
    """
    known = read_credentials(directory)
    path = directory / CREDENTIALS
    if not await _works(auth, known.get("api_key")):
        password = await _create_admin(auth) or known.get("password")
        key = await auth.create_key(EMAIL, KEY_NAME)
        known = {"email": EMAIL, "password": password, "api_key": key}
    if known.get("url") != url or not path.exists():
        _write(path, {**known, "url": url})
    return path


async def _works(auth: AuthService, key: Any) -> bool:
    from neurogrid.core.errors import Unauthenticated

    try:
        await auth.identify(str(key or ""))
    except Unauthenticated:
        return False
    return True


async def _create_admin(auth: AuthService) -> str | None:
    """Create the account and return its password, ``None`` when there is one already."""
    from neurogrid.auth.policy import Role, Tier
    from neurogrid.core.errors import Conflict

    password = secrets.token_urlsafe(18)
    try:
        await auth.create_user(EMAIL, Role.ADMIN, Tier.UNLIMITED, password)
    except Conflict:
        return None
    return password


def _write(path: Path, credentials: dict[str, Any]) -> None:
    """Write the file whole or not at all, for its owner only from the first byte."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(credentials, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
