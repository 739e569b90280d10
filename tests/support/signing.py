"""Keys and tokens of providers, sound and forged."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk, jwt


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """Return the ``number``-th RSA key of this process."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as text."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    """Return the public key as text."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def published(key: rsa.RSAPrivateKey, kid: str = "k1", **more: Any) -> dict[str, Any]:
    """Return a key as providers publish it."""
    numbers = jwk.construct(public_pem(key), "RS256").to_dict()
    fields = {name: value.decode() if isinstance(value, bytes) else value for name, value in numbers.items()}
    return {**fields, "kid": kid, "use": "sig", **more}


def unsigned(claims: dict[str, Any], header: dict[str, Any], signature: str = "") -> str:
    """Return a token with any header and signature."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (header, claims)
    ]
    return ".".join([*parts, signature])


@cache
def _signer(text: str, algorithm: str) -> Any:
    return jwk.construct(text, algorithm)  # which looks whether the primes are some, and takes its time


def sign(claims: dict[str, Any], key: str | None = None, algorithm: str = "RS256", **header: Any) -> str:
    """Return a signed token, by the provider's key unless another is given."""
    headers = {name: value for name, value in {"kid": "k1", **header}.items() if value is not None}
    return jwt.encode(claims, _signer(key or pem(rsa_key()), algorithm), algorithm, headers)
