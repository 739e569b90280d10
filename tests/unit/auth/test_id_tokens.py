"""ID tokens: every way to forge one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk
from jose.utils import calculate_at_hash

from neurogrid.auth.oauth.id_tokens import BadIdToken, Expected, choose, header_of, keys_of, read
from tests.support.signing import pem, public_pem, published, rsa_key, sign, unsigned

ISSUER, CLIENT, NONCE, ACCESS = "https://id.example", "the-grid", "n-1", "an access token"
EXPECTED = Expected(ISSUER, CLIENT, NONCE, ACCESS)


def claims(**other: Any) -> dict[str, Any]:
    now = int(time.time())
    standard = {"iss": ISSUER, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 60, "nonce": NONCE}
    return {name: value for name, value in {**standard, **other}.items() if value is not None}


def believed(token: str, *keys: dict[str, Any]) -> dict[str, Any]:
    """Return what is believed of ``token`` by the keys of a provider."""
    header = header_of(token)
    key = choose(header, keys_of({"keys": list(keys) or [published(rsa_key())]}))
    if key is None:
        msg = "no key"
        raise BadIdToken(msg)
    return read(token, header, key, EXPECTED)


def at_hash(token: str = ACCESS) -> str:
    import hashlib

    return str(calculate_at_hash(token, hashlib.sha256))


EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_PUBLIC = {
    name: value.decode() if isinstance(value, bytes) else value
    for name, value in jwk.construct(pem(EC_KEY), "ES256").public_key().to_dict().items()
}


@pytest.mark.parametrize(
    ("token", "keys"),
    [
        (lambda: sign(claims()), ()),
        (lambda: sign(claims(aud=[CLIENT])), ()),
        (lambda: sign(claims(aud=[CLIENT, "other"], azp=CLIENT)), ()),
        (lambda: sign(claims(at_hash=at_hash())), ()),
        (lambda: sign(claims(), kid=None), ()),
        (lambda: sign(claims(iat=time.time() + 30.5)), ()),
        (lambda: sign(claims(), pem(EC_KEY), "ES256"), ({**EC_PUBLIC, "kid": "k1"},)),
        (lambda: sign(claims(), algorithm="RS512"), (published(rsa_key(), alg="RS512"),)),
    ],
)
def test_what_is_believed(token: Callable[[], str], keys: tuple[dict[str, Any], ...]) -> None:
    """Tokens of providers that do as the standard says are read, by RSA and by ECDSA."""
    assert believed(token(), *keys)["sub"] == "1"


FORGED: dict[str, Callable[[], str]] = {
    "not signed": lambda: unsigned(claims(), {"alg": "none", "kid": "k1"}),
    "not signed, by another spelling": lambda: unsigned(claims(), {"alg": "nOnE", "kid": "k1"}, "e30"),
    "by the public key as a secret": lambda: _hmac_by_public_key(),
    "signature of another": lambda: sign(claims(), pem(rsa_key(1))),
    "signature of nothing": lambda: sign(claims()).rpartition(".")[0] + ".e30",
    "claims changed": lambda: _changed(),
    "another algorithm of the same key": lambda: sign(claims(), algorithm="RS512"),
    "a key that is not published": lambda: sign(claims(), kid="k2"),
    "key in the header": lambda: sign(claims(), pem(rsa_key(1)), jwk=published(rsa_key(1))),
    "key by reference": lambda: sign(claims(), jku="https://evil.example/keys"),
    "critical header": lambda: sign(claims(), crit=["b64"]),
    "encrypted": lambda: f"{sign(claims())}.e30.e30",
    "kid is no text": lambda: sign(claims(), kid=7),
    "too long": lambda: sign(claims(padding="x" * 16_384)),
    "other issuer": lambda: sign(claims(iss="https://evil.example")),
    "issuer with a slash": lambda: sign(claims(iss=f"{ISSUER}/")),
    "no issuer": lambda: sign(claims(iss=None)),
    "other audience": lambda: sign(claims(aud="other")),
    "no audience": lambda: sign(claims(aud=None)),
    "several audiences, none authorised": lambda: sign(claims(aud=[CLIENT, "other"])),
    "authorised is another": lambda: sign(claims(azp="other")),
    "part of the audience": lambda: sign(claims(aud=f"{CLIENT}x")),
    "expired": lambda: sign(claims(exp=int(time.time()) - 61)),
    "no expiry": lambda: sign(claims(exp=None)),
    "expiry is a text": lambda: sign(claims(exp=str(int(time.time()) + 60))),
    "made long ago": lambda: sign(claims(iat=int(time.time()) - 700)),
    "made in the future": lambda: sign(claims(iat=int(time.time()) + 90)),
    "no time": lambda: sign(claims(iat=None)),
    "not yet valid": lambda: sign(claims(nbf=int(time.time()) + 90)),
    "other nonce": lambda: sign(claims(nonce="n-2")),
    "no nonce": lambda: sign(claims(nonce=None)),
    "nonce is a list": lambda: sign(claims(nonce=[NONCE])),
    "no subject": lambda: sign(claims(sub=None)),
    "empty subject": lambda: sign(claims(sub="")),
    "subject is a number": lambda: sign(claims(sub=1)),
    "subject with NUL": lambda: sign(claims(sub="a\x00b")),
    "half a character": lambda: sign(claims(sub="\ud800")),
    "half a character in the nonce": lambda: sign(claims(nonce="\ud800")),
    "long subject": lambda: sign(claims(sub="x" * 256)),
    "of another access token": lambda: sign(claims(at_hash=at_hash("another"))),
    "at_hash is no hash": lambda: sign(claims(at_hash=7)),
    "no token": lambda: "hello",
}


def _hmac_by_public_key() -> str:
    """Sign as python-jose itself refuses to: HMAC, with what the provider publishes as the secret."""
    import hashlib
    import hmac as mac
    from base64 import urlsafe_b64encode

    start = unsigned(claims(), {"alg": "HS256", "kid": "k1"})[:-1]
    digest = mac.digest(public_pem(rsa_key()).encode(), start.encode(), hashlib.sha256)
    return f"{start}.{urlsafe_b64encode(digest).decode().rstrip('=')}"


def _changed() -> str:
    head, _, signature = sign(claims()).split(".")
    return ".".join([head, unsigned(claims(sub="2"), {}).split(".")[1], signature])


@pytest.mark.parametrize("forgery", FORGED)
def test_what_is_forged(forgery: str) -> None:
    """Whatever is not by the provider, for us, of now, and of this very sign-in, is refused."""
    with pytest.raises(BadIdToken):
        believed(FORGED[forgery]())


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"},
        published(rsa_key(), alg="HS256"),
        published(rsa_key(), alg="none"),
        published(rsa_key(), use="enc"),
        {**published(rsa_key()), "n": "AQAB"},
        {**published(rsa_key()), "n": "A" * 4000},
        {**published(rsa_key()), "n": 7},
        {**EC_PUBLIC, "kid": "k1", "x": "AQAB"},
        {**EC_PUBLIC, "kid": "k1", "crv": "secp256k1"},
        {**EC_PUBLIC, "kid": "k1", "alg": "ES512"},
        {},
    ],
    ids=[
        "symmetric", "RSA for HMAC", "RSA for nothing", "for encryption", "RSA of 24 bits", "RSA of 24000 bits",
        "no number", "no point", "other curve", "other hash", "nothing",
    ],
)  # fmt: skip
def test_keys_that_are_not_taken(key: dict[str, Any]) -> None:
    """Symmetric keys, those for other purposes, too small or too large, or broken, verify nothing."""
    assert keys_of({"keys": [key]}) == {}


def test_without_kid_one_key_alone_is_meant() -> None:
    """A token that names no key is read only where there is a single one."""
    with pytest.raises(BadIdToken):
        believed(sign(claims(), kid=None), published(rsa_key()), published(rsa_key(1), "k2"))
