"""What a model says, as JSON that every reader accepts."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from neurogrid.protocol.values import check_value
from neurogrid.runners.base import TaskError


def encode_value(value: Any) -> bytes:
    """Return ``value`` as JSON; JSON already encoded is checked and passed on.

    Raises ``TaskError`` (``invalid_output``) for NaN and infinities, which JSON does not know and faster
    encoders quietly turn into ``null``, for what is nested too deep, and for anything else that is not JSON.
    """
    try:
        raw = bytes(value) if isinstance(value, msgspec.Raw) else _encode(value)
        check_value(raw)
    except (ValueError, TypeError, RecursionError) as error:
        raise TaskError("invalid_output", f"the model's output is not JSON: {error}") from error
    return raw


def _encode(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
