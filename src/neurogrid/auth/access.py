"""Access tokens: the one place that makes and reads JSON Web Tokens.

A token says which user and which session; what they may do is looked up, so that it holds at once when it changes.
python-jose takes more than is safe, so everything it could be talked into is refused before it is asked: there is
one algorithm for each ``kid`` (HMAC-SHA256, by a derived key of 32 bytes that is no PEM or DER text), the header has
``alg``, ``typ`` and ``kid`` and nothing else, and each claim has to be there.
"""

from __future__ import annotations

import binascii
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from neurogrid.core.crypto import Keyring
from neurogrid.core.errors import Unauthenticated
from neurogrid.core.ids import is_id, new_id

ALGORITHM: Final = "HS256"
TYPE: Final = "at+jwt"
ISSUER: Final = "neurogrid"
AUDIENCE: Final = "neurogrid-api"
PURPOSE: Final = "access token"
MAX_LENGTH: Final = 2048
LEEWAY: Final = 5
"""Seconds by which the clocks of two gateways may differ."""

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}")
_HEADER: Final = {"alg", "typ", "kid"}
_REQUIRED: Final = ("exp", "iat", "sub", "aud", "iss", "jti")
_BAD: Final = "The access token is not valid: it is expired, revoked, or none of this grid."


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. ``expires_at`` is a moment in UTC."""

    user_id: str
    session_id: str
    id: str
    expires_at: datetime


class AccessTokens:
    """Makes and reads access tokens."""

    def __init__(self, keyring: Keyring, lifetime: float) -> None:
        """Sign by ``keyring``; a token is good for ``lifetime`` seconds."""
        self._keys = {key.kid: key.value for key in keyring.derive(PURPOSE)}
        self._newest = keyring.newest(PURPOSE)
        self.lifetime = lifetime

    def make(self, user_id: str, session_id: str) -> str:
        """Return a fresh token."""
        from jose import jwt  # noqa: PLC0415 - a gateway whose callers all have keys never needs it

        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": user_id, "sid": session_id, "jti": new_id(),
            "iat": now, "exp": now + round(self.lifetime),
        }  # fmt: skip
        headers = {"typ": TYPE, "kid": self._newest.kid}
        return jwt.encode(claims, self._newest.value, ALGORITHM, headers)

    def read(self, token: str) -> Claims:
        """Return what ``token`` says. Raises ``Unauthenticated``, which tells nothing of why."""
        from jose import jwt  # noqa: PLC0415
        from jose.exceptions import JOSEError  # noqa: PLC0415

        key = self._key_of(token)
        required = {f"require_{claim}": True for claim in _REQUIRED}
        options = {**required, "leeway": LEEWAY}
        try:
            claims = jwt.decode(token, key, [ALGORITHM], options, AUDIENCE, ISSUER)
        except (JOSEError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            raise Unauthenticated(_BAD) from None
        return self._checked(claims)

    def _key_of(self, token: str) -> bytes:
        """Return the key a token names, if its header is one that we write. Raises ``Unauthenticated``."""
        if len(token) > MAX_LENGTH or not _FORM.fullmatch(token):
            raise Unauthenticated(_BAD)
        segments = [_decode(segment) for segment in token.split(".")]
        try:
            header = orjson.loads(segments[0])
        except orjson.JSONDecodeError:
            raise Unauthenticated(_BAD) from None
        if not isinstance(header, dict) or set(header) != _HEADER:
            raise Unauthenticated(_BAD)
        key = self._keys.get(header["kid"]) if isinstance(header["kid"], str) else None
        if key is None or header["alg"] != ALGORITHM or header["typ"] != TYPE:
            raise Unauthenticated(_BAD)
        return key

    def _checked(self, claims: dict[str, Any]) -> Claims:
        ids = [claims["sub"], claims.get("sid"), claims["jti"]]
        issued, expires = claims["iat"], claims["exp"]
        if not all(isinstance(id, str) and is_id(id) for id in ids) or claims["aud"] != AUDIENCE:
            raise Unauthenticated(_BAD)
        if type(issued) is not int or type(expires) is not int:
            raise Unauthenticated(_BAD)
        if issued > time.time() + LEEWAY or not 0 < expires - issued <= round(self.lifetime) + LEEWAY:
            raise Unauthenticated(_BAD)
        return Claims(ids[0], ids[1], ids[2], datetime.fromtimestamp(expires, UTC))


def _decode(segment: str) -> bytes:
    """Return what a segment encodes, if it is the only way to write it. Raises ``Unauthenticated``."""
    try:
        value = binascii.a2b_base64(segment.replace("-", "+").replace("_", "/") + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise Unauthenticated(_BAD) from None
    again = binascii.b2a_base64(value, newline=False).decode().rstrip("=")
    if again.replace("+", "-").replace("/", "_") != segment:
        raise Unauthenticated(_BAD)
    return value
