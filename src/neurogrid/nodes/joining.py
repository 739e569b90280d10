"""The tokens by which nodes join the grid: made, listed, believed and revoked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import tokens
from neurogrid.auth.trail import Trail
from neurogrid.core.errors import FieldError, Invalid, NotFound, Unauthenticated
from neurogrid.core.ids import is_id, new_id, now
from neurogrid.core.prepared import Row
from neurogrid.nodes.policy import Scope
from neurogrid.nodes.schemas import FreshToken, NewToken, TokenView
from neurogrid.nodes.store import NodeStore
from neurogrid.nodes.tables import NodeToken


class JoinTokens:
    """Lets nodes in, each as what its token allows."""

    def __init__(self, store: NodeStore) -> None:
        """Keep tokens in ``store``."""
        self._store = store

    async def admit(self, token: str) -> Scope:
        """Return what a node may be that joins by ``token``. Raises ``Unauthenticated``."""
        row = None
        if tokens.well_formed(token, tokens.NODE_TOKEN):
            row = await self._store.token(tokens.digest(token), now())
        if row is None:
            msg = "The node token is unknown, revoked or expired. Make one with `neurogrid nodes token`."
            raise Unauthenticated(msg)
        models = _models(row)
        return Scope(row["id"], row["node"], None if models is None else frozenset(models))

    async def valid(self, ids: Iterable[str]) -> set[str]:
        """Return those of the tokens ``ids`` that still hold, asking once for all."""
        return await self._store.valid_tokens(ids, now())

    async def create(self, transaction: AsyncSession, wanted: NewToken, trail: Trail) -> FreshToken:
        """Make a token by which nodes join, in a transaction of the caller; it cannot be read again.

        Raises ``Invalid``.
        """
        secret, moment = tokens.make(tokens.NODE_TOKEN), now()
        expires = wanted.expires_at
        if wanted.expires_in_s is not None:
            expires = moment + timedelta(seconds=wanted.expires_in_s)
        if expires is not None and expires <= moment:
            msg = "The token would have expired already."
            raise Invalid(msg, errors=[FieldError("expires_at", "lies in the past")])
        models = None if wanted.models is None else sorted(set(wanted.models))
        row = NodeToken(
            id=new_id(), name=wanted.name, prefix=secret.shown, hash=secret.hash, node=wanted.node,
            models=None if models is None else orjson.dumps(models).decode(),
            created_at=moment, expires_at=expires, revoked_at=None, last_used_at=None,
        )  # fmt: skip
        self._store.add_token(transaction, row)
        note = trail.of("node_token.created", row.id, prefix=row.prefix, node=row.node)
        await note(transaction)
        return FreshToken(
            id=row.id, name=row.name, prefix=row.prefix, node=row.node, models=models,
            created_at=moment, expires_at=expires, token=secret.text,
        )  # fmt: skip

    async def overview(self) -> list[TokenView]:
        """Return every token without its secret, the newest first."""
        return [
            TokenView(
                id=row["id"], name=row["name"], prefix=row["prefix"], node=row["node"], models=_models(row),
                created_at=row["created_at"], expires_at=row["expires_at"], revoked_at=row["revoked_at"],
                last_used_at=row["last_used_at"],
            )
            for row in await self._store.tokens()
        ]  # fmt: skip

    async def revoke(self, id: str, trail: Trail) -> None:
        """Make a token useless; each gateway disconnects its nodes within seconds. Raises ``NotFound``."""
        note = trail.of("node_token.revoked", id)
        if not (is_id(id) and await self._store.revoke_token(id, now(), note)):
            msg = "There is no node token with this id."
            raise NotFound(msg)


def _models(row: Row) -> list[str] | None:
    return None if row["models"] is None else orjson.loads(row["models"])
