"""Keeping an answer that holds a secret so that only who asked for it can read it again (ADR 0009).

The key is derived from what the client sends and nobody keeps: its credential, of which the database has a hash,
and its `Idempotency-Key`. Whoever has the database, or a copy of it, has neither.
"""

from __future__ import annotations

import os

SALT, NONCE, KEY = 16, 12, 32


def seal(text: bytes, secret: bytes, place: str) -> bytes:
    """Encrypt ``text`` by ``secret``; it can be read at ``place`` only, the name of its row."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  few processes ever need it

    salt, nonce = os.urandom(SALT), os.urandom(NONCE)
    return salt + nonce + AESGCM(_key(secret, salt)).encrypt(nonce, text, place.encode())


def unseal(sealed: bytes, secret: bytes, place: str) -> bytes | None:
    """Return what was sealed; ``None`` if it was by another ``secret``, or for another ``place``."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    salt, nonce, rest = sealed[:SALT], sealed[SALT : SALT + NONCE], sealed[SALT + NONCE :]
    try:
        return AESGCM(_key(secret, salt)).decrypt(nonce, rest, place.encode())
    except InvalidTag:
        return None


def _key(secret: bytes, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(SHA256(), KEY, salt, b"neurogrid idempotent response").derive(secret)
