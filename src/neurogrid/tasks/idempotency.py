"""Idempotent submission: one key of an owner stands for one task (R19; the header of the IETF draft
draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from pydantic import BaseModel

from neurogrid.core.errors import Conflict
from neurogrid.queue.ops import Duplicate, Idempotency


class IdempotencyConflict(Conflict):
    """The key was used for something else."""

    code, title = "idempotency_conflict", "Idempotency key used for another request"


def once(key: str | None, body: BaseModel) -> Idempotency | None:
    """Return what makes a submission of ``body`` under ``key`` happen once."""
    if key is None:
        return None
    canonical = orjson.dumps(body.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return Idempotency(key, hashlib.sha256(canonical).hexdigest())


def require_same(asked: Idempotency | None, known: Duplicate) -> None:
    """Raise ``IdempotencyConflict`` unless ``known`` was submitted with the same body."""
    if asked is None or asked.body_hash != known.body_hash:
        msg = "This Idempotency-Key was used for another request within a day. Take a fresh one."
        raise IdempotencyConflict(msg)


class Turns:
    """Lets submissions with one key of one owner pass one at a time, so that a batch holds it once."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._waiting: defaultdict[tuple[str, str], int] = defaultdict(int)

    @asynccontextmanager
    async def take(self, owner: str, asked: Idempotency | None) -> AsyncIterator[None]:
        """Hold the turn of a key; without a key there is nothing to wait for."""
        if asked is None:
            yield
            return
        key = (owner, asked.key)
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._waiting[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._locks[key]
