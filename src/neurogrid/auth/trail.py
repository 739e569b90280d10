"""Who does something in a request, and from where: what their entry in the audit log says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.audit import SERVER, Audit
from neurogrid.auth.policy import Identity

Note = Callable[[AsyncSession], Awaitable[None]]
"""Writes down an act, given its transaction, as the last thing done there."""


@dataclass(frozen=True, slots=True)
class Trail:
    """Somebody who acts. ``identity`` ``None`` is a command on the server itself."""

    audit: Audit
    identity: Identity | None = None
    address: str = ""

    def of(self, action: str, target: str | None = None, **details: Any) -> Note:
        """Return what writes down that they did ``action`` to ``target``."""
        actor = SERVER if self.identity is None else self.identity

        async def note(transaction: AsyncSession) -> None:
            await self.audit.note(transaction, action, actor, target, self.address, details)

        return note
