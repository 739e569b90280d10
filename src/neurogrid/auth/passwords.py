"""Password hashes by Argon2id, off the event loop and few at a time: one takes about 200 ms of a core and 64 MiB."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError

from neurogrid.core.errors import FieldError, Invalid, Unavailable

MINIMUM_LENGTH = 12
MAXIMUM_LENGTH = 256
_DIFFERENT = 5
_RETRY_AFTER = 2


@cache
def _argon2() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _nobodys() -> str:
    """Return the hash that is compared with where there is none, so that it takes the same time."""
    return _argon2().hash("the password of nobody")


class Passwords:
    """Hashes and compares passwords: ``concurrency`` at once, ``queue`` more may wait."""

    def __init__(self, concurrency: int = 1, queue: int = 32) -> None:
        """Bound the work."""
        self._turns = asyncio.Semaphore(concurrency)
        self._room = concurrency + queue

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash of ``password`` in PHC form. Raises ``Unavailable`` when too many wait."""
        async with self._turn():
            return await asyncio.to_thread(_argon2().hash, _normal(password))

    async def verify(self, password: str, known: str | None) -> bool:
        """Tell whether ``password`` is the one of the hash ``known``; without one it takes as long, and is not.

        Raises ``Unavailable`` when too many wait.
        """
        async with self._turn():
            return await asyncio.to_thread(_matches, _normal(password), known)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._room <= 0:
            msg = "Too many people sign in right now. Try again in a moment."
            raise Unavailable(msg, retry_after=_RETRY_AFTER)
        self._room -= 1
        try:
            async with self._turns:
                yield
        finally:
            self._room += 1


def _matches(password: str, known: str | None) -> bool:
    try:
        same = _argon2().verify(password, known or _nobodys())
    except PwdlibError:  # a hash of another kind
        return False
    return same and known is not None


def _normal(password: str) -> str:
    """Return one form for all ways to type the same characters (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


def check(password: str, email: str, field: str = "password") -> None:
    """Refuse a password that is too short, or that whoever knows the address would try. Raises ``Invalid``."""
    plain = password.lower()
    if len(password) < MINIMUM_LENGTH:
        _refuse(field, "The password is too short.", f"at least {MINIMUM_LENGTH} characters")
    if len(password) > MAXIMUM_LENGTH:
        _refuse(field, "The password is too long.", f"at most {MAXIMUM_LENGTH} characters")
    if len(set(plain)) < _DIFFERENT or email in plain or plain in email:
        _refuse(field, "The password is easily guessed.", "more different characters, and not your address")


def _refuse(field: str, detail: str, message: str) -> None:
    raise Invalid(detail, errors=[FieldError(field, message)])
