"""Queries on nodes and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from neurogrid.core.db import Database
from neurogrid.core.prepared import Row
from neurogrid.nodes.tables import Node, NodeToken

REMOVED = "removed"
_NODE = select(
    Node.id,
    Node.name,
    Node.version,
    Node.models,
    Node.labels,
    Node.slots,
    Node.state,
    Node.registered_at,
    Node.seen_at,
)


class NodeStore:
    """Reads and writes the tables of this feature."""

    def __init__(self, database: Database) -> None:
        """Use ``database``."""
        self._database = database

    async def upsert(self, node: Node) -> str:
        """Insert a node, or update the one of its name; return its id."""
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        fresh = {
            "version": node.version,
            "models": node.models,
            "labels": node.labels,
            "slots": node.slots,
            "seen_at": node.seen_at,
        }
        statement = (
            insert(Node)
            .values(id=node.id, name=node.name, state=node.state, registered_at=node.registered_at, **fresh)
            .on_conflict_do_update(index_elements=[Node.name], set_={**fresh, "state": node.state})
            .returning(Node.id)
        )
        async with self._database.transaction() as transaction:
            return str((await transaction.execute(statement)).scalar_one())

    async def seen(self, ids: Sequence[str], moment: datetime) -> None:
        """Record that nodes gave a sign of life."""
        async with self._database.transaction() as transaction:
            await transaction.execute(update(Node).where(Node.id.in_(ids)).values(seen_at=moment))

    async def all(self) -> list[Row]:
        """Return every node that was not removed, by name."""
        return await self._database.all(_NODE.where(Node.state != REMOVED).order_by(Node.name))

    async def add_token(self, token: NodeToken) -> None:
        """Keep a token."""
        async with self._database.transaction() as transaction:
            transaction.add(token)

    async def token(self, digest: str, moment: datetime) -> Row | None:
        """Return the valid token that hashes to ``digest``."""
        return await self._database.first(
            select(NodeToken.id, NodeToken.name).where(
                NodeToken.hash == digest,
                NodeToken.revoked_at.is_(None),
                NodeToken.expires_at.is_(None) | (NodeToken.expires_at > moment),
            )
        )
