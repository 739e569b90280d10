"""The secret key, and what is made of it: a key of its own for each purpose, sealing, and keyed hashes.

Keys rotate: what is made is made by the newest, what was made by an earlier one is still read while that one is
given as well (``NEUROGRID_AUTH__PREVIOUS_SECRET_KEYS``). A key is told by its ``kid``, which is derived from it and says nothing of it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

KEY, NONCE, KID = 32, 12, 8


@dataclass(frozen=True, slots=True)
class DerivedKey:
    """A key for one purpose."""

    kid: str
    value: bytes = field(repr=False)


class Keyring:
    """The secret keys of the grid, the newest first."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Hold ``secrets``, each of which has 32 bytes or more."""
        self._secrets = tuple(secrets)
        self.derive = cache(self._derive)

    @classmethod
    def ephemeral(cls) -> Keyring:
        """Return a keyring nobody else has and that ends with the process."""
        return cls([os.urandom(KEY)])

    def _derive(self, purpose: str) -> tuple[DerivedKey, ...]:
        """Return the keys for ``purpose``, the newest first."""
        return tuple(
            DerivedKey(_hkdf(secret, f"{purpose} kid", KID).hex(), _hkdf(secret, purpose, KEY))
            for secret in self._secrets
        )

    def newest(self, purpose: str) -> DerivedKey:
        """Return the key by which things are made for ``purpose``."""
        return self.derive(purpose)[0]

    def tag(self, purpose: str, text: str) -> str:
        """Return the keyed hash of ``text``, as hex."""
        return _mac(self.newest(purpose).value, text)

    def tagged(self, purpose: str, text: str, tag: str) -> bool:
        """Tell whether ``tag`` is the keyed hash of ``text`` by any key."""
        given = tag.encode()
        return any(hmac.compare_digest(_mac(key.value, text).encode(), given) for key in self.derive(purpose))

    def seal(self, plain: bytes, place: str) -> bytes:
        """Encrypt what is to be read again; it can be read at ``place`` only, such as the name of its row."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  few processes ever need it

        key, nonce = self.newest("seal"), os.urandom(NONCE)
        return bytes.fromhex(key.kid) + nonce + AESGCM(key.value).encrypt(nonce, plain, place.encode())

    def unseal(self, sealed: bytes, place: str) -> bytes | None:
        """Return what was sealed; ``None`` if it was by a key that is gone, for another ``place``, or is damaged."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        kid, nonce, rest = sealed[:KID].hex(), sealed[KID : KID + NONCE], sealed[KID + NONCE :]
        for key in self.derive("seal"):
            if key.kid == kid and len(nonce) == NONCE:
                try:
                    return AESGCM(key.value).decrypt(nonce, rest, place.encode())
                except InvalidTag:
                    return None
        return None


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _hkdf(secret: bytes, purpose: str, length: int) -> bytes:
    """Derive a key by HKDF-SHA256 (RFC 5869), whose output of up to 32 bytes is a single block."""
    prk = hmac.new(b"neurogrid", secret, hashlib.sha256).digest()
    return hmac.new(prk, purpose.encode() + b"\x01", hashlib.sha256).digest()[:length]
