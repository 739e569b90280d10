"""Access tokens under attack: what python-jose could be talked into, and what it lets pass that it should not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwe, jwt

from neurogrid.auth.access import ALGORITHM, AUDIENCE, ISSUER, PURPOSE, TYPE, AccessTokens
from neurogrid.core.crypto import Keyring
from neurogrid.core.errors import Unauthenticated
from neurogrid.core.ids import new_id

KEYRING = Keyring([b"k" * 32])
KEY = KEYRING.newest(PURPOSE)
TOKENS = AccessTokens(KEYRING, 900)
RSA = rsa.generate_private_key(65537, 2048)
PRIVATE = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
PUBLIC = {
    encoding: RSA.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
}


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token; ``None`` leaves one out."""
    now = int(time.time())
    good = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": new_id(), "sid": new_id(), "jti": new_id(),
        "iat": now, "exp": now + 900,
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def segment(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def forged(
    header: dict[str, Any] | None = None, body: Any = None, key: bytes = KEY.value, algorithm: str = "sha256"
) -> str:
    """Sign anything at all by HMAC, without a library that would object."""
    head = {"alg": ALGORITHM, "typ": TYPE, "kid": KEY.kid, **(header or {})}
    head = {name: value for name, value in head.items() if value is not None}
    signed = f"{segment(json.dumps(head).encode())}.{segment(json.dumps(claims() if body is None else body).encode())}"
    return f"{signed}.{segment(hmac.new(key, signed.encode(), algorithm).digest())}"


def refused(token: str) -> None:
    with pytest.raises(Unauthenticated) as error:
        TOKENS.read(token)
    assert len(token) < 20 or token not in error.value.detail


def test_a_good_token_is_taken() -> None:
    """What we make we read, and the forger of these tests makes the same, so that its refusals mean something."""
    user, session = new_id(), new_id()
    read = TOKENS.read(TOKENS.make(user, session))
    assert (read.user_id, read.session_id) == (user, session)
    assert 890 < read.expires_at.timestamp() - time.time() <= 900
    body = claims()
    assert TOKENS.read(forged(body=body)).id == body["jti"]
    assert TOKENS.read(TOKENS.make(user, session)).id != read.id, "each has an id of its own"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
def test_algorithm_none(name: str) -> None:
    """A token that says it needs no signature is refused, with or without one."""
    token = forged({"alg": name})
    refused(token)
    refused(token.rsplit(".", 1)[0] + ".")
    refused(token.rsplit(".", 1)[0])


@pytest.mark.parametrize(
    "name", ["HS384", "HS512", "RS256", "ES256", "PS256", "HS256 ", "hs256", None, 5, ["HS256"]]
)
def test_one_algorithm_for_each_key(name: Any) -> None:
    """Nothing but the algorithm of the key is taken, however well it is signed."""
    refused(forged({"alg": name}))
    if name in ("HS384", "HS512"):
        refused(forged({"alg": name}, algorithm=name.replace("HS", "sha")))


def test_a_token_signed_by_rsa() -> None:
    """A key pair of the attacker's own is no key of ours, under our key's name or another."""
    for kid in (KEY.kid, "mine"):
        refused(jwt.encode(claims(), PRIVATE.decode(), "RS256", {"typ": TYPE, "kid": kid}))


@pytest.mark.parametrize("encoding", list(PUBLIC))
def test_a_public_key_as_hmac_secret(encoding: serialization.Encoding) -> None:
    """HS/RS confusion, in PEM and in DER, which python-jose takes for a secret: only derived keys sign."""
    refused(forged(key=PUBLIC[encoding]))
    refused(forged(key=base64.b64encode(PUBLIC[encoding])))


@pytest.mark.parametrize("key", [b"", b"k" * 32, KEY.kid.encode(), b"secret"])
def test_other_secrets(key: bytes) -> None:
    """Neither the secret itself nor the empty one signs; each purpose has a key of its own."""
    refused(forged(key=key))
    refused(forged(key=KEYRING.newest("seal").value))


@pytest.mark.parametrize(
    "kid", ["", "other", "../../dev/null", "' OR 1=1 --", None, 0, [], {}, KEY.kid.upper()]
)
def test_unknown_keys(kid: Any) -> None:
    """A key we do not have is not looked for anywhere."""
    refused(forged({"kid": kid}))


@pytest.mark.parametrize("kind", ["JWT", "at+JWT", "JWE", "", None, "refresh", ["at+jwt"]])
def test_other_types(kind: Any) -> None:
    """A token made for something else is no access token."""
    refused(forged({"typ": kind}))


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"anything": 1},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_headers_that_ask_for_something(extra: dict[str, Any]) -> None:
    """Headers that bring keys, or change how the rest is read, are refused, though the signature is good."""
    refused(forged(extra))


@pytest.mark.parametrize("missing", ["exp", "iat", "sub", "aud", "iss", "jti", "sid"])
def test_missing_claims(missing: str) -> None:
    """Each claim has to be there; without our asking, python-jose would take a token without ``aud`` or ``exp``."""
    refused(forged(body=claims(**{missing: None})))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-api"},
        {"aud": ""},
        {"aud": [AUDIENCE, "another-api"]},
        {"aud": {AUDIENCE: 1}},
        {"iss": "https://evil.example"},
        {"iss": [ISSUER]},
        {"sub": "admin"},
        {"sub": 1},
        {"sub": ["x"]},
        {"sid": "x"},
        {"sid": 1},
        {"jti": ""},
        {"jti": 5},
        {"exp": lambda: int(time.time()) - 60},
        {"exp": lambda: int(time.time()) + 10**6},
        {"exp": 10**20},
        {"exp": lambda: str(int(time.time()) + 600)},
        {"exp": float("inf")},
        {"exp": True},
        {"exp": None},
        {"iat": lambda: int(time.time()) + 600},
        {"iat": "now"},
        {"iat": True},
        {"iat": lambda: int(time.time()) - 10**6},
        {"nbf": lambda: int(time.time()) + 600},
    ],
    ids=lambda changes: (
        f"{next(iter(changes))} {type(next(iter(changes.values()))).__name__}"
    ),  # no time of day
)
def test_wrong_claims(changes: dict[str, Any]) -> None:
    """Foreign audiences, other issuers, ids that are none, and times that cannot be are refused."""
    changes = {name: value() if callable(value) else value for name, value in changes.items()}
    refused(forged(body={**claims(), **changes}))


def test_every_changed_character() -> None:
    """A token with any one character changed, left out or doubled is refused: there is one way to write it."""
    token = TOKENS.make(new_id(), new_id())
    for place, character in enumerate(token):
        other = "A" if character != "A" else "B"
        refused(token[:place] + other + token[place + 1 :])
    for other in set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") - {token[-1]}:
        refused(token[:-1] + other)  # three of these stand for the same bytes
    for place in range(0, len(token), 7):
        refused(token[:place] + token[place + 1 :])
        refused(token[:place] + token[place] + token[place:])


@pytest.mark.parametrize("addition", ["=", "\n", " ", ".", "A", "%", "é", "\0"])
def test_additions(addition: str) -> None:
    """Characters that base64 decoders pass over make another token, and it is refused."""
    token = TOKENS.make(new_id(), new_id())
    for changed in (token + addition, addition + token, token.replace(".", f"{addition}.", 1)):
        refused(changed)


def test_truncated_tokens() -> None:
    """No beginning of a token is one."""
    token = TOKENS.make(new_id(), new_id())
    for length in range(len(token)):
        refused(token[:length])


def test_payloads_of_another_session_do_not_fit() -> None:
    """Header, claims and signature of different tokens make none."""
    first, second = (TOKENS.make(new_id(), new_id()).split(".") for _ in range(2))
    refused(f"{first[0]}.{second[1]}.{first[2]}")


@pytest.mark.parametrize("body", [[], "x", 1, None, {"sub": {}}, [["sub", "x"]]], ids=repr)
def test_claims_that_are_no_object(body: Any) -> None:
    """Well signed nonsense is refused as anything else."""
    refused(forged(body=body if body is not None else "null"))


def test_encrypted_tokens_and_long_ones() -> None:
    """A JWE is no token of ours; what is too long is not even looked at."""
    refused(jwe.encrypt(json.dumps(claims()), b"k" * 32, "A256GCM", "dir").decode())
    refused(forged(body={**claims(), "pad": "x" * 3000}))
    refused("a." * 1_000_000)


def test_keys_rotate() -> None:
    """The newest key signs; an earlier one is taken as long as it is given; then it is not."""
    old, new = b"o" * 32, b"n" * 32
    before = AccessTokens(Keyring([old]), 900).make(new_id(), new_id())
    during, after = AccessTokens(Keyring([new, old]), 900), AccessTokens(Keyring([new]), 900)
    during.read(before)
    fresh = during.make(new_id(), new_id())
    after.read(fresh)
    with pytest.raises(Unauthenticated):
        after.read(before)
    kids = {
        json.loads(base64.urlsafe_b64decode(each.split(".")[0] + "=="))["kid"] for each in (before, fresh)
    }
    assert len(kids) == 2
    assert hashlib.sha256(old).hexdigest()[:16] not in kids, "a key's name says nothing of it"
