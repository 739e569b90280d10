"""Nodes and their join tokens. ``models`` and ``labels`` are JSON."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from neurogrid.core.db import Base, Id, UtcDateTime


class Node(Base):
    """A worker process known by its name, connected or not."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    version: Mapped[str] = mapped_column(Text)
    models: Mapped[str] = mapped_column(Text)
    labels: Mapped[str] = mapped_column(Text)
    slots: Mapped[int]
    state: Mapped[str] = mapped_column(Text)
    registered_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class NodeToken(Base):
    """A credential by which nodes join; only its SHA-256 is kept."""

    __tablename__ = "node_tokens"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
