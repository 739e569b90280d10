"""Opaque credentials: ``<prefix>_<32 random characters><6 characters of checksum>``.

The prefix and the CRC-32 in base 62 let secret scanners and people recognise a leaked key without asking
the server. The 32 characters carry 190 bits, so a plain SHA-256 is enough to keep them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
SHOWN_LENGTH = 12

API_KEY = "ng"
NODE_TOKEN = "ngn"  # noqa: S105 - a prefix, no secret
REFRESH_TOKEN = "ngr"  # noqa: S105
INVITATION = "ngi"
VERIFICATION = "ngv"
RESET = "ngp"
TICKET = "ngt"
LINK = "ngl"


@dataclass(frozen=True, slots=True)
class Secret:
    """A fresh credential; ``text`` is shown once and never kept."""

    text: str
    hash: str
    shown: str


def make(prefix: str) -> Secret:
    """Return a fresh credential of the kind ``prefix``."""
    return _secret(prefix, "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH)))


def successor(text: str, key: bytes) -> Secret:
    """Return the credential that ``text`` is exchanged for: always the same, and only ``key`` and ``text`` tell it."""
    prefix = text.partition("_")[0]
    number = int.from_bytes(hmac.digest(key, text.encode(), "sha512"))
    return _secret(prefix, _base62(number % len(ALPHABET) ** RANDOM_LENGTH, RANDOM_LENGTH))


def _secret(prefix: str, body: str) -> Secret:
    text = f"{prefix}_{body}{_checksum(body)}"
    return Secret(text, digest(text), text[:SHOWN_LENGTH])


def digest(text: str) -> str:
    """Return what is kept of a credential."""
    return hashlib.sha256(text.encode()).hexdigest()


def well_formed(text: str, prefix: str) -> bool:
    """Tell whether ``text`` can be a credential of the kind ``prefix`` at all, without any look-up."""
    head, underscore, rest = text.partition("_")
    if head != prefix or not underscore or len(rest) != RANDOM_LENGTH + CHECKSUM_LENGTH:
        return False
    body, checksum = rest[:RANDOM_LENGTH], rest[RANDOM_LENGTH:]
    return body.isascii() and body.isalnum() and checksum == _checksum(body)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
