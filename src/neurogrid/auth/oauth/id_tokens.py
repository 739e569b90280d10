"""ID tokens: what a provider signs of who has signed in (OpenID Connect Core, section 3.1.3.7).

python-jose takes more than is safe, so what it could be talked into is refused before it is asked: a key is good for
one algorithm, RSA or ECDSA, which its own description or its kind decides and never the token; symmetric keys, and
headers that bring or point to keys, are refused.
"""

from __future__ import annotations

import binascii
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

MAX_LENGTH: Final = 16 * 1024
MAX_KEYS: Final = 50
MAX_SUBJECT: Final = 255
LEEWAY: Final = 60
"""Seconds by which the provider's clock may differ."""
YOUNG: Final = 600
"""Seconds ago that a token may have been made: it answers a sign-in that has just ended."""
RSA_BITS: Final = range(2048, 8193)

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_BY_CURVE: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA: Final = ("RS256", "RS384", "RS512")
_REFUSED: Final = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"})
_REQUIRED: Final = ("exp", "iat", "sub", "aud", "iss")


class BadIdToken(Exception):
    """The token cannot be believed; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, as PEM, and the one algorithm it is good for."""

    algorithm: str
    pem: str


@dataclass(frozen=True, slots=True)
class Header:
    """How a token says that it was signed."""

    algorithm: str
    kid: str | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say. ``access_token`` is the one that came with it."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str


def keys_of(document: Mapping[str, Any]) -> dict[str, VerificationKey]:
    """Return the keys of a JSON Web Key Set that can be used, by their ``kid``; one without has the name ``""``."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        return {}
    found = {}
    for entry in entries[:MAX_KEYS]:
        key = _key_of(entry) if isinstance(entry, dict) and entry.get("use", "sig") == "sig" else None
        if key is not None:
            kid = entry.get("kid")
            found[kid if isinstance(kid, str) else ""] = key
    return found


def _key_of(entry: dict[str, Any]) -> VerificationKey | None:
    """Return a key, unless it is of a kind, a size or a form that is not taken."""
    from jose import jwk  # noqa: PLC0415 - few gateways ever need it
    from jose.exceptions import JOSEError  # noqa: PLC0415

    match entry:
        case {"kty": "RSA", "n": str(n), "e": str(e)} if _bits(n) in RSA_BITS and _bits(e) <= 32:
            algorithm, public = str(entry.get("alg", _RSA[0])), {"kty": "RSA", "n": n, "e": e}
            known = algorithm in _RSA
        case {"kty": "EC", "crv": str(curve), "x": str(x), "y": str(y)}:
            algorithm, public = _BY_CURVE.get(curve, ""), {"kty": "EC", "crv": curve, "x": x, "y": y}
            known = algorithm != "" and entry.get("alg", algorithm) == algorithm
        case _:
            return None
    if not known:
        return None
    try:
        return VerificationKey(algorithm, jwk.construct(public, algorithm).to_pem().decode())
    except (JOSEError, ValueError, TypeError):
        return None


def _bits(number: str) -> int:
    try:
        return int.from_bytes(_decode(number)).bit_length()
    except BadIdToken:
        return 0


def header_of(token: str) -> Header:
    """Return the header of a token, of which nothing is believed yet. Raises ``BadIdToken``."""
    if len(token) > MAX_LENGTH or not _FORM.fullmatch(token):
        msg = "not of the form of a signed token"
        raise BadIdToken(msg)
    try:
        header = orjson.loads(_decode(token.partition(".")[0]))
    except orjson.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or not _REFUSED.isdisjoint(header):
        msg = "the header is no object, or names what is not taken"
        raise BadIdToken(msg)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None):
        msg = "the header names no algorithm, or a kid that is no text"
        raise BadIdToken(msg)
    return Header(algorithm, kid)


def choose(header: Header, keys: Mapping[str, VerificationKey]) -> VerificationKey | None:
    """Return the key that a header means: the one of its ``kid``; without, the only one there is."""
    if header.kid is not None:
        return keys.get(header.kid)
    return next(iter(keys.values())) if len(keys) == 1 else None


def read(token: str, header: Header, key: VerificationKey, expected: Expected) -> dict[str, Any]:
    """Return what ``token`` says, if it is by ``key`` and says what it has to. Raises ``BadIdToken``."""
    from jose import jwt  # noqa: PLC0415
    from jose.exceptions import JOSEError  # noqa: PLC0415

    if header.algorithm != key.algorithm:
        msg = f"signed by {header.algorithm[:20]!r}, and the key is for {key.algorithm}"
        raise BadIdToken(msg)
    options = {**{f"require_{claim}": True for claim in _REQUIRED}, "leeway": LEEWAY}
    try:
        jwt.decode(
            token,
            key.pem,
            [key.algorithm],
            options,
            expected.client_id,
            expected.issuer,
            access_token=expected.access_token,
        )
        # Read anew, as strictly as everything that is kept: json takes halves of characters for text.
        claims: dict[str, Any] = orjson.loads(_decode(token.split(".")[1]))
    except (JOSEError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise BadIdToken(str(error)) from None
    wrong = _wrong(claims, expected)
    if wrong is not None:
        raise BadIdToken(wrong)
    return claims


def _wrong(claims: dict[str, Any], expected: Expected) -> str | None:
    """Return what python-jose does not mind, or does not look at."""
    issued, expires, subject = claims["iat"], claims["exp"], claims["sub"]
    moment = time.time()
    if claims["iss"] != expected.issuer:
        return "iss is another one"
    if not _is_number(issued) or not _is_number(expires):
        return "iat or exp is no number"
    if not moment - YOUNG - LEEWAY < issued < moment + LEEWAY or expires <= moment - LEEWAY:
        return "made long ago, in the future, or expired"
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    party = claims.get("azp")
    if (party is not None or len(audience) > 1) and party != expected.client_id:
        return "for several, and not made for us (azp)"
    if expected.client_id not in audience:
        return "aud is another one"
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        return "nonce is another one"
    if not isinstance(subject, str) or not is_subject(subject):
        return "sub is no name"
    return None


def is_subject(text: str) -> bool:
    """Tell whether ``text`` can name an account at a provider."""
    return 0 < len(text) <= MAX_SUBJECT and text.isprintable()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _decode(segment: str) -> bytes:
    """Return what base64url encodes. Raises ``BadIdToken``."""
    try:
        return binascii.a2b_base64(
            segment.replace("-", "+").replace("_", "/") + "=" * (-len(segment) % 4), strict_mode=True
        )
    except (binascii.Error, ValueError):
        msg = "not encoded as it should be"
        raise BadIdToken(msg) from None
