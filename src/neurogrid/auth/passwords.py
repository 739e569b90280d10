"""Password hashes by Argon2id, off the event loop and few at a time: one takes about 200 ms of a core."""

from __future__ import annotations

import asyncio
from functools import cache

from pwdlib import PasswordHash

MINIMUM_LENGTH = 12


@cache
def _argon2() -> PasswordHash:
    return PasswordHash.recommended()


class Passwords:
    """Hashes passwords, at most ``concurrency`` at once."""

    def __init__(self, concurrency: int = 1) -> None:
        """Bound the work to ``concurrency`` threads."""
        self._turns = asyncio.Semaphore(concurrency)

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash of ``password`` in PHC form."""
        async with self._turns:
            return await asyncio.to_thread(_argon2().hash, password)
