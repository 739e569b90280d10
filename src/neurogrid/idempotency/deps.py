"""`Idempotency-Key` as FastAPI dependencies: every route that creates something takes it by ``Depends(once(...))``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

from fastapi import Depends, Header
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from neurogrid.auth.deps import credential, permitted
from neurogrid.auth.policy import Identity, Permission, Proof
from neurogrid.idempotency.policy import MAX_KEY, PATTERN, hash_body
from neurogrid.idempotency.service import Answer, Idempotency, Keyed

REPLAYED = "Idempotency-Replayed"
JSON = "application/json"


async def idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=MAX_KEY,
            pattern=PATTERN,
            description="The same key and body within 24 hours give the same answer and make nothing new, with "
            f"`{REPLAYED}: true`; another body is refused with 409 `idempotency_conflict`.",
            examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
        ),
    ] = None,
) -> str | None:
    """Return the key that makes a request happen once."""
    return idempotency_key


Key = Annotated[str | None, Depends(idempotency_key)]


async def idempotency_service(request: Request) -> Idempotency:
    """Return the service of this process."""
    return cast("Idempotency", request.state.idempotency)


Remembered = Annotated[Idempotency, Depends(idempotency_service)]


class Once:
    """What makes a request of ``actor`` happen once, if it came with a key."""

    def __init__(
        self, idempotency: Idempotency, actor: Identity, keyed: Callable[[str], Keyed | None]
    ) -> None:
        """Remember answers in ``idempotency``; ``keyed`` returns the request, given the hash of its body."""
        self.actor = actor
        self._idempotency = idempotency
        self._keyed = keyed

    def keyed(self, body: BaseModel) -> Keyed | None:
        """Return the request and what it asks for, if it came with a key."""
        return self._keyed(hash_body(body))

    async def __call__(
        self,
        body: BaseModel,
        make: Callable[[AsyncSession], Awaitable[BaseModel]],
        *,
        status: int = 201,
        location: Callable[[Any], str] | None = None,
    ) -> Response:
        """Answer with what ``make`` makes of ``body`` in one transaction, or with what it made of it before.

        A body that is no JSON, such as a file, is stood for by a model that names its hash. ``location`` gives the
        header of that name for what was made. Raises ``IdempotencyConflict``, and what ``make`` raises.
        """

        async def answer(transaction: AsyncSession) -> Answer:
            made = await make(transaction)
            headers = {"Location": location(made)} if location else {}
            return Answer(status, made.model_dump_json().encode(), headers)

        given = await self._idempotency.once(self.keyed(body), answer)
        return Response(given.body, given.status, headers_of(given), JSON)


def headers_of(answer: Answer) -> dict[str, str]:
    """Return the headers of an answer, that of a repeated one included."""
    return {**answer.headers, REPLAYED: "true"} if answer.replayed else dict(answer.headers)


def once(
    permission: Permission, *limits: str, secret: bool = False, proof: Proof = Proof.NONE
) -> Callable[..., Awaitable[Once]]:
    """Return a dependency that lets through only callers who have ``permission``, and says how to answer them once.

    ``limits`` are the endpoint's classes, ``proof`` is what sensitive acts ask for (see ``permitted``). ``secret`` says that the answer shows one, such as a token: what is kept of it is encrypted (ADR 0009).
    """
    demand = permitted(permission, *limits, proof=proof)

    async def dependency(
        *,
        actor: Identity = Depends(demand),
        idempotency: Remembered,
        key: Key,
        request: Request,
    ) -> Once:
        path: str = request.scope["path"]

        def keyed(body_hash: str) -> Keyed | None:
            if key is None:
                return None
            return Keyed(actor.user_id, path, key, body_hash, credential(request), secret)

        return Once(idempotency, actor, keyed)

    return dependency
