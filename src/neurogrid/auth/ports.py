"""What authentication needs of the limits above it, as protocols that the gateway fills in (``request.state.limits``)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from starlette.requests import HTTPConnection

from neurogrid.auth.policy import Identity


class Limiting(Protocol):
    """Says how often somebody may ask. All methods raise ``LimitExceeded``, a 429."""

    async def admit(self, request: HTTPConnection, identity: Identity, classes: tuple[str, ...]) -> None:
        """Count a request of ``identity``, also in the windows of these endpoint classes."""

    async def stranger(self, request: HTTPConnection) -> None:
        """Count a request without valid credentials against its address."""

    async def attempt(self, request: HTTPConnection) -> AbstractContextManager[None]:
        """Count a try to sign in, to whatever account, against its address before it is judged.

        It goes on counting when the block is left by ``Unauthenticated``, and is taken back otherwise.
        """
