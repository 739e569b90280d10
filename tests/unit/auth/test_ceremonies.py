"""Whom passkeys are made for, and what is not read."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogrid.auth import ceremonies
from neurogrid.auth.ceremonies import PasskeyRefused, RelyingParty, decode, encode, relying_party
from tests.support.authenticator import Authenticator
from tests.support.gateway import settings_for

PARTY = RelyingParty("localhost", ("http://localhost:8000",))
CHALLENGE = b"\x01" * 32


@pytest.mark.parametrize(
    ("url", "domain", "allowed", "found"),
    [
        ("https://grid.example", None, (), RelyingParty("grid.example", ("https://grid.example",))),
        ("https://grid.example:443", None, (), RelyingParty("grid.example", ("https://grid.example",))),
        ("http://127.0.0.1:8000", None, (), PARTY),
        ("http://[::1]:8000", None, (), PARTY),
        ("http://0.0.0.0:8000", None, (), PARTY),
        ("http://192.0.2.7:8000", None, (), None),
        (
            "https://grid.example.org",
            "example.org",
            ("https://console.example.org", "https://example.com", "https://notexample.org"),
            RelyingParty("example.org", ("https://grid.example.org", "https://console.example.org")),
        ),
    ],
)
def test_whom_passkeys_are_for(
    url: str, domain: str | None, allowed: tuple[str, ...], found: RelyingParty | None
) -> None:
    """The host of the public URL, or a domain above it, and the pages of that domain that are allowed; no address."""
    assert relying_party(url, domain, allowed) == found


@pytest.mark.parametrize("domain", ["example.com", "id.example", "xample", "a.grid.example"])
def test_foreign_domains_are_refused(domain: str) -> None:
    """The settings refuse a domain that users' pages are not of."""
    with pytest.raises(ValueError, match="passkey_domain"):
        settings_for(
            "sqlite+aiosqlite:///x.db", public_url="https://grid.example", auth={"passkey_domain": domain}
        )


def made() -> dict[str, Any]:
    options = {"user": {"id": encode(b"ada")}, "rp": {"id": "localhost"}, "challenge": encode(CHALLENGE)}
    return Authenticator(PARTY.origins[0]).make(options)


@settings(deadline=None)
@given(place=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_bent_passkey_is_refused_or_read(place: int, byte: int) -> None:
    """Whatever byte of what an authenticator made is another one, it is a passkey or a refusal, and no error of ours."""
    credential = made()
    value = bytearray(decode(credential["response"]["attestationObject"]))
    value[place % len(value)] = byte
    credential["response"]["attestationObject"] = encode(bytes(value))
    with contextlib.suppress(PasskeyRefused):
        ceremonies.read_new(PARTY, credential, CHALLENGE)


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_garbage_is_no_passkey(data: bytes) -> None:
    """Bytes that no authenticator made are refused."""
    credential = made()
    credential["response"]["attestationObject"] = encode(data)
    with pytest.raises(PasskeyRefused):
        ceremonies.read_new(PARTY, credential, CHALLENGE)
    answer = {"clientDataJSON": encode(data), "authenticatorData": encode(data), "signature": encode(data)}
    with pytest.raises(PasskeyRefused):
        ceremonies.challenge_of({"response": answer})
    with pytest.raises(PasskeyRefused):
        ceremonies.read_answer(PARTY, {**credential, "response": answer}, CHALLENGE, data)
