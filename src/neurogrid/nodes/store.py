"""Queries on nodes and their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Update, case, delete, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate

from neurogrid.auth.trail import Note
from neurogrid.core.db import Database, UtcDateTime
from neurogrid.core.prepared import Row
from neurogrid.nodes.policy import FROM, NodeState, Standing
from neurogrid.nodes.tables import Node, NodeToken

_NODE = select(
    Node.id,
    Node.name,
    Node.version,
    Node.models,
    Node.labels,
    Node.slots,
    Node.state,
    Node.drain_until,
    Node.registered_at,
    Node.seen_at,
)
_STANDING = (Node.id, Node.state, Node.drain_until)
_TOKEN = select(
    NodeToken.id,
    NodeToken.name,
    NodeToken.prefix,
    NodeToken.node,
    NodeToken.models,
    NodeToken.created_at,
    NodeToken.expires_at,
    NodeToken.revoked_at,
    NodeToken.last_used_at,
)


class NodeStore:
    """Reads and writes the tables of this feature."""

    def __init__(self, database: Database) -> None:
        """Use ``database``."""
        self._database = database

    async def register(self, node: Node, *, resumes: bool, token: str | None) -> Standing | None:
        """Record what a node says of itself; what operators said of it stays.

        A process that ``resumes`` has been here before: ``None`` when its row is gone. A new process of a
        draining node finds it cordoned, since whoever was to be drained has left. ``token`` was used now.
        """
        fresh = {
            "version": node.version,
            "models": node.models,
            "labels": node.labels,
            "slots": node.slots,
            "seen_at": node.seen_at,
        }
        async with self._database.transaction() as transaction:
            if token is not None:
                used = update(NodeToken).where(NodeToken.id == token).values(last_used_at=node.seen_at)
                await transaction.execute(used)
            if resumes:
                again = update(Node).where(Node.name == node.name).values(fresh).returning(*_STANDING)
                row = (await transaction.execute(again)).mappings().first()
                return _standing(row) if row else None
            insert = sqlite.insert if self._database.sqlite else postgresql.insert
            left = case((Node.state == NodeState.DRAINING.value, NodeState.CORDONED.value), else_=Node.state)
            upsert = (
                insert(Node)
                .values(
                    id=node.id, name=node.name, state=node.state, registered_at=node.registered_at, **fresh
                )
                .on_conflict_do_update(
                    index_elements=[Node.name], set_={**fresh, "state": left, "drain_until": None}
                )
                .returning(*_STANDING)
            )
            return _standing((await transaction.execute(upsert)).mappings().one())

    async def seen(self, ids: Sequence[str], moment: datetime) -> None:
        """Record that nodes gave a sign of life."""
        await self._change(update(Node).where(Node.id.in_(ids)).values(seen_at=moment))

    async def all(self) -> list[Row]:
        """Return every node, by name."""
        return await self._database.all(_NODE.order_by(Node.name))

    async def one(self, id: str) -> Row | None:
        """Return a node."""
        return await self._database.first(_NODE.where(Node.id == id))

    async def standings(self, ids: Iterable[str]) -> list[Standing]:
        """Return how the nodes ``ids`` stand, and all that drain."""
        wanted = Node.id.in_(list(ids)) | (Node.state == NodeState.DRAINING)
        return [_standing(row) for row in await self._database.all(select(*_STANDING).where(wanted))]

    async def order(self, id: str, state: NodeState, drain_until: datetime | None, note: Note) -> None:
        """Bring a node into a state, where that changes anything."""
        moves = (Node.id == id) & Node.state.in_(FROM[state])
        moved = update(Node).where(moves).values(state=state, drain_until=drain_until).returning(Node.id)
        await self._noted(moved, note)

    async def drained(self, ids: Sequence[str]) -> None:
        """Record that draining nodes have left."""
        draining = Node.id.in_(ids) & (Node.state == NodeState.DRAINING)
        await self._change(update(Node).where(draining).values(state=NodeState.CORDONED, drain_until=None))

    async def remove(self, id: str, note: Note) -> bool:
        """Delete a node; ``False`` if there was none."""
        return await self._noted(delete(Node).where(Node.id == id).returning(Node.id), note)

    # --- tokens -------------------------------------------------------------------------------

    def add_token(self, transaction: AsyncSession, token: NodeToken) -> None:
        """Keep a token, once ``transaction`` is committed."""
        transaction.add(token)

    async def tokens(self) -> list[Row]:
        """Return every token, the newest first."""
        return await self._database.all(_TOKEN.order_by(NodeToken.id.desc()))

    async def token(self, digest: str, moment: datetime) -> Row | None:
        """Return the valid token that hashes to ``digest``."""
        return await self._database.first(_TOKEN.where(NodeToken.hash == digest, _valid(moment)))

    async def valid_tokens(self, ids: Iterable[str], moment: datetime) -> set[str]:
        """Return those of the tokens ``ids`` that are valid."""
        found = select(NodeToken.id).where(NodeToken.id.in_(list(ids)), _valid(moment))
        return {row["id"] for row in await self._database.all(found)}

    async def revoke_token(self, id: str, moment: datetime, note: Note) -> bool:
        """Make a token useless; ``False`` if there is none."""
        first = func.coalesce(NodeToken.revoked_at, literal(moment, UtcDateTime))
        statement = update(NodeToken).where(NodeToken.id == id).values(revoked_at=first)
        return await self._noted(statement.returning(NodeToken.id), note)

    async def _noted(self, statement: ReturningUpdate[Any] | ReturningDelete[Any], note: Note) -> bool:
        """Change a row, and have the change written down with it; ``False`` if there is no such row."""
        async with self._database.transaction() as transaction:
            if (await transaction.execute(statement)).first() is None:
                return False
            await note(transaction)
            return True

    async def _change(self, statement: Update) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(statement)


def _standing(row: Any) -> Standing:
    return Standing(row["id"], NodeState(row["state"]), row["drain_until"])


def _valid(moment: datetime) -> ColumnElement[bool]:
    return NodeToken.revoked_at.is_(None) & (NodeToken.expires_at.is_(None) | (NodeToken.expires_at > moment))
