"""Recovery codes: each stands once for a second factor that is lost. They carry 80 bits, so a plain SHA-256 keeps them."""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import tokens
from neurogrid.auth.tables import RecoveryCode
from neurogrid.core.ids import new_id, now

COUNT: Final = 10
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Without what is easily misread (Crockford's base 32)."""
_MISREAD: Final = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})
_LENGTH, _GROUP = 16, 4


async def renew(transaction: AsyncSession, user_id: str) -> list[str]:
    """Return fresh codes, to be shown this once; the earlier ones are worth nothing."""
    await drop(transaction, user_id)
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)) for _ in range(COUNT)]
    moment = now()
    transaction.add_all(
        RecoveryCode(id=new_id(), user_id=user_id, hash=_kept(code), created_at=moment, used_at=None)
        for code in codes
    )
    await transaction.flush()
    return ["-".join(code[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP)) for code in codes]


async def take(transaction: AsyncSession, user_id: str, text: str) -> bool:
    """Use up a code, however it is written; ``False`` if it is none of that user's. Of two at once one gets it."""
    code = text.lower().translate(_MISREAD)
    if len(code) != _LENGTH:
        return False
    taken = await transaction.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user_id, RecoveryCode.hash == _kept(code), RecoveryCode.used_at.is_(None)
        )
        .values(used_at=now())
        .returning(RecoveryCode.id)
    )
    return taken is not None


def unused(user_id: str) -> Select[int]:
    """Return the statement that counts the codes that are left."""
    return select(func.count()).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))


async def left(transaction: AsyncSession, user_id: str) -> int:
    """Return how many codes are left."""
    return await transaction.scalar(unused(user_id)) or 0


async def drop(transaction: AsyncSession, user_id: str) -> None:
    """Forget every code of a user."""
    await transaction.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


def _kept(code: str) -> str:
    return tokens.digest(f"recovery {code}")
