"""Making things once, and answering alike whoever asks again (R19)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.core.db import Database
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row
from neurogrid.idempotency.policy import LIFETIME, IdempotencyConflict, require_same
from neurogrid.idempotency.seal import seal, unseal
from neurogrid.idempotency.store import FORGET_LIMIT, Claim, ResponseStore
from neurogrid.idempotency.turns import Turns


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets: the body is JSON."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    replayed: bool = False
    """Whether it was given before."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request with a key: whose, where to, and what it asks for."""

    owner: str
    path: str
    key: str = field(repr=False)
    body_hash: str
    credential: str = field(repr=False, default="")
    """By which it came; an answer that holds a secret is read again by the same one only."""
    sealed: bool = False
    """Whether the answer holds a secret."""

    @property
    def digest(self) -> str:
        """What is kept of path and key."""
        return hashlib.sha256(f"{self.path}\n{self.key}".encode()).hexdigest()

    @property
    def secret(self) -> bytes:
        """What the answer is sealed by."""
        return f"{self.credential}\n{self.key}".encode()


Make = Callable[[AsyncSession], Awaitable[Answer]]
"""Makes what was asked for in the transaction given, which the caller commits."""
Work = Callable[[str], Awaitable[Answer]]
"""Does what was asked for in transactions of its own, safe to repeat with the same name, which is given."""


class Idempotency:
    """Remembers the answers that keys stand for."""

    def __init__(self, database: Database) -> None:
        """Keep them in ``database``."""
        self._database = database
        self._store = ResponseStore(database)
        self._turns = Turns()

    async def once(self, keyed: Keyed | None, make: Make) -> Answer:
        """Return what ``make`` answers, or what it answered when the request came first.

        The answer is written in the transaction of what was made: there are both or neither. An error leaves no
        trace. Raises ``IdempotencyConflict``, and what ``make`` raises.
        """
        if keyed is None:
            async with self._database.transaction() as transaction:
                return await make(transaction)
        async with self._turns.take(keyed.owner, keyed.digest):
            while (known := await self._known(keyed)) is None:
                claim = _claim(keyed)
                async with self._database.transaction() as transaction:
                    if await self._store.claim(transaction, claim, now()):
                        answer = await make(transaction)
                        await self._keep(transaction, keyed, claim, answer)
                        return answer
            return _again(keyed, known)

    async def repeatable(self, keyed: Keyed, work: Work) -> Answer:
        """Return what ``work`` answers, or what it answered when the request came first.

        For work of many transactions: the request is written down before it, the answer after it. Cut off between
        the two, it is done again by whoever repeats the request, under the same name, which makes its parts happen
        once. Raises ``IdempotencyConflict``, and what ``work`` raises.
        """
        async with self._turns.take(keyed.owner, keyed.digest):
            claim = await self._begun(keyed)
            if claim is not None:
                answer = await work(f"{claim.digest} {claim.expires_at.timestamp():.6f}")
                async with self._database.transaction() as transaction:
                    if await self._keep(transaction, keyed, claim, answer):
                        return answer
            known = await self._known(keyed)  # with an answer by now, maybe of another gateway
            if known is None or known["status"] is None:
                msg = "This Idempotency-Key expired while its request was under way. Take a fresh one."
                raise IdempotencyConflict(msg)
            return _again(keyed, known)

    async def answered(self, keyed: Keyed) -> bool:
        """Tell whether a request was answered before, if need be after waiting for that. Raises ``IdempotencyConflict``."""
        async with self._turns.take(keyed.owner, keyed.digest):
            known = await self._known(keyed)
            return known is not None and known["status"] is not None

    async def _begun(self, keyed: Keyed) -> Claim | None:
        """Return the claim under which to work; ``None`` when the request is answered already."""
        while (known := await self._known(keyed)) is None:
            claim = _claim(keyed)
            async with self._database.transaction() as transaction:
                if await self._store.claim(transaction, claim, now()):
                    return claim
        if known["status"] is not None:
            return None
        return Claim(keyed.owner, keyed.digest, keyed.body_hash, known["expires_at"])

    async def _known(self, keyed: Keyed) -> Row | None:
        row = await self._store.find(keyed.owner, keyed.digest)
        if row is None or row["expires_at"] <= now():
            return None
        require_same(keyed.body_hash, row["body_hash"])
        return row

    async def _keep(self, transaction: AsyncSession, keyed: Keyed, claim: Claim, answer: Answer) -> bool:
        body = seal(answer.body, keyed.secret, keyed.digest) if keyed.sealed else answer.body
        return await self._store.answer(
            transaction,
            claim,
            status=answer.status,
            headers=orjson.dumps(answer.headers).decode(),
            body=body,
            sealed=keyed.sealed,
        )

    async def forget(self) -> None:
        """Delete what keys stood for that have expired."""
        while await self._store.forget(now()) == FORGET_LIMIT:
            pass


def _claim(keyed: Keyed) -> Claim:
    return Claim(keyed.owner, keyed.digest, keyed.body_hash, now() + LIFETIME)


def _again(keyed: Keyed, row: Row) -> Answer:
    body = unseal(row["body"], keyed.secret, keyed.digest) if row["sealed"] else row["body"]
    if body is None:
        msg = (
            "What this Idempotency-Key stands for was made, and shows a secret. It is shown again only to the "
            "credential it was made with."
        )
        raise IdempotencyConflict(msg)
    return Answer(row["status"], body, orjson.loads(row["headers"]), replayed=True)
