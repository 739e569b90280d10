"""Idempotent submission: one key of an owner stands for one task, written with it by the journal (R19)."""

from __future__ import annotations

from pydantic import BaseModel

from neurogrid.idempotency import policy
from neurogrid.queue.answers import Duplicate
from neurogrid.queue.ops import Idempotency


def once(key: str | None, body: BaseModel) -> Idempotency | None:
    """Return what makes a submission of ``body`` under ``key`` happen once."""
    return None if key is None else Idempotency(key, policy.hash_body(body))


def require_same(asked: Idempotency | None, known: Duplicate) -> None:
    """Raise ``IdempotencyConflict`` unless ``known`` was submitted with the same body."""
    policy.require_same(asked.body_hash if asked else "", known.body_hash)
