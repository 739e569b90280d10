"""What a model says, as JSON that every reader accepts."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from neurogrid.runners.base import TaskError

_check = msgspec.json.Decoder(msgspec.Raw).decode


def encode_value(value: Any) -> bytes:
    """Return ``value`` as JSON; JSON already encoded is checked and passed on.

    Raises ``TaskError`` (``invalid_output``) for NaN and infinities, which JSON does not know and faster
    encoders quietly turn into ``null``, and for anything else that is not JSON.
    """
    try:
        if isinstance(value, msgspec.Raw):
            return bytes(_check(value))
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except (ValueError, TypeError, RecursionError, msgspec.DecodeError) as error:
        raise TaskError("invalid_output", f"the model's output is not JSON: {error}") from error
