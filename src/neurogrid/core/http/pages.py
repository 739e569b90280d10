"""Cursors of lists that are ordered by a column of their own: opaque to clients, checked when they come back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from neurogrid.core.errors import BadRequest, FieldError

T = TypeVar("T")


def encode(text: str) -> str:
    """Return the cursor that stands for ``text``."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str | None, is_one: Callable[[str], bool]) -> str | None:
    """Return what a cursor stands for, ``None`` for none. Raises ``BadRequest`` unless ``is_one`` says it can be."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not is_one(text):
        msg = "The cursor is not one this server gave out; leave it out for the first page."
        raise BadRequest(msg, errors=[FieldError("cursor", msg)])
    return text


def cut(rows: Sequence[T], limit: int, key: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Return the ``limit`` first of one more than that, and the cursor of the next page, if there is one."""
    shown = rows[:limit]
    return shown, encode(key(shown[-1])) if len(rows) > limit else None
