"""What an `Idempotency-Key` promises (the header of draft-ietf-httpapi-idempotency-key-header). Pure."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import orjson
from pydantic import BaseModel

from neurogrid.core.errors import Conflict

LIFETIME = timedelta(hours=24)
"""How long a key stands for its request."""
PATTERN = r"^[\x21-\x7e]+$"
MAX_KEY = 255


class IdempotencyConflict(Conflict):
    """The key was used for something else."""

    code, title = "idempotency_conflict", "Idempotency key used for another request"


def hash_body(body: BaseModel) -> str:
    """Return the SHA-256 of a body's canonical JSON: equal for bodies that ask for the same."""
    canonical = orjson.dumps(body.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def require_same(asked: str, known: str) -> None:
    """Raise ``IdempotencyConflict`` unless the hashes of two bodies are equal."""
    if asked != known:
        msg = "This Idempotency-Key was used for another request within a day. Take a fresh one."
        raise IdempotencyConflict(msg)
