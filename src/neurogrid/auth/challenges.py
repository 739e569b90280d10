"""What passkeys are asked to sign: random, for one purpose, answered once, on whatever gateway."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import update

from neurogrid.auth import ceremonies, tokens
from neurogrid.auth.ceremonies import PasskeyRefused
from neurogrid.auth.tables import OneTimeToken
from neurogrid.core.db import Database
from neurogrid.core.ids import new_id, now

LENGTH = 32


class Challenges:
    """Makes and takes them; kept as hashes, until they are answered or ``lifetime`` seconds old."""

    def __init__(self, database: Database, lifetime: float) -> None:
        """Keep them in ``database``."""
        self._database = database
        self._lifetime = timedelta(seconds=lifetime)

    async def make(self, purpose: str, bound: str, user_id: str | None = None) -> bytes:
        """Return a fresh one, to be answered by who is ``bound`` to it: a session or a ticket, for instance."""
        challenge = secrets.token_bytes(LENGTH)
        async with self._database.transaction() as transaction:
            transaction.add(
                OneTimeToken(
                    id=new_id(), user_id=user_id, purpose=purpose, payload=bound, attempts=0,
                    hash=_hash(ceremonies.encode(challenge)), created_at=now(),
                    expires_at=now() + self._lifetime, used_at=None,
                )
            )  # fmt: skip
        return challenge

    async def take(self, text: str, purpose: str, bound: str) -> bytes:
        """Use up the one that a browser says it answers, whether or not the answer is good. Raises ``PasskeyRefused``."""
        async with self._database.transaction() as transaction:
            taken = await transaction.scalar(
                update(OneTimeToken)
                .where(
                    OneTimeToken.hash == _hash(text),
                    OneTimeToken.purpose == purpose,
                    OneTimeToken.payload == bound,
                    OneTimeToken.used_at.is_(None),
                    OneTimeToken.expires_at > now(),
                )
                .values(used_at=now())
                .returning(OneTimeToken.id)
            )
        if taken is None:
            raise PasskeyRefused
        return ceremonies.decode(text)


def _hash(text: str) -> str:
    return tokens.digest(f"challenge {text}")
