"""Identifiers: UUIDv7 (RFC 9562), so that ids sort by the time they were made."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils


def new_id() -> str:
    """Return a fresh UUIDv7 in canonical text form."""
    return str(uuid_utils.uuid7())


def is_id(text: str) -> bool:
    """Tell whether ``text`` is a UUID in canonical form."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)
