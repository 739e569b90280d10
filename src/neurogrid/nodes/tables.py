"""Nodes and their join tokens. ``models`` and ``labels`` are JSON."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from neurogrid.core.db import Base, Id, UtcDateTime


class Node(Base):
    """A worker process known by its name, connected or not.

    ``state`` is what operators want of it (``policy.NodeState``), ``drain_until`` when a draining one must be gone.
    """

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    version: Mapped[str] = mapped_column(Text)
    models: Mapped[str] = mapped_column(Text)
    labels: Mapped[str] = mapped_column(Text)
    slots: Mapped[int]
    state: Mapped[str] = mapped_column(Text)
    drain_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    registered_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class NodeToken(Base):
    """A credential by which nodes join; only its SHA-256 is kept.

    ``node`` is the only name, ``models`` a JSON array of the only models that whoever joins by it may have.
    """

    __tablename__ = "node_tokens"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text, unique=True)
    node: Mapped[str | None] = mapped_column(Text)
    models: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
