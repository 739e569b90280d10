"""The answers that clients' keys stand for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from neurogrid.core.db import Base, Id, UtcDateTime


class IdempotentResponse(Base):
    """What was answered to a request with a key, written in the transaction that made what it asked for.

    ``digest`` is the SHA-256 of path and key; the key itself is not kept. ``status`` is null while a request that
    takes several transactions is under way. ``headers`` is JSON; ``body`` is encrypted if ``sealed`` (ADR 0009).
    """

    __tablename__ = "idempotent_responses"

    owner_id: Mapped[str] = mapped_column(Id, primary_key=True)
    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    body_hash: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    headers: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    sealed: Mapped[bool]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
