"""The secret key: what is made of it, where it comes from, and what production does not start with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr, ValidationError

from neurogrid.core.crypto import Keyring
from neurogrid.core.secret_key import UnsafeForProduction, keyring_of, with_secret_key
from neurogrid.core.settings import Settings

GOOD = "q8Zr1mVt0xYb7LsKd3NwPf6HgJc2Ua9e"
POSTGRES = "postgresql://grid:k3Jd8sLw@db/grid"


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path / "data", **given)


def test_each_purpose_has_a_key_of_its_own() -> None:
    """Keys are derived as RFC 5869 says, and none tells anything of another."""
    ring = Keyring([b"s" * 32])
    expected = HKDF(SHA256(), 32, b"neurogrid", b"seal").derive(b"s" * 32)
    assert ring.newest("seal").value == expected
    values = {ring.newest(purpose).value for purpose in ("seal", "csrf", "lockout")}
    assert len(values) == 3
    assert repr(expected) not in repr(ring.newest("seal"))


def test_what_is_sealed_is_read_in_its_place_only() -> None:
    """Another place, another key, or a changed byte gives nothing; an earlier key that is still given reads."""
    old = Keyring([b"o" * 32])
    sealed = old.seal(b"secret", "row 1")
    assert b"secret" not in sealed
    assert sealed != old.seal(b"secret", "row 1")
    assert Keyring([b"n" * 32, b"o" * 32]).unseal(sealed, "row 1") == b"secret"
    assert Keyring([b"n" * 32]).unseal(sealed, "row 1") is None
    assert old.unseal(sealed, "row 2") is None
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        assert old.unseal(changed, "row 1") is None
        assert old.unseal(sealed[:place], "row 1") is None


def test_tags() -> None:
    """A keyed hash holds for its text and purpose, also by an earlier key."""
    old, both = Keyring([b"o" * 32]), Keyring([b"n" * 32, b"o" * 32])
    tag = old.tag("csrf", "session")
    assert both.tagged("csrf", "session", tag)
    assert not both.tagged("csrf", "other", tag)
    assert not both.tagged("device", "session", tag)
    assert not both.tagged("csrf", "session", "é")
    assert not Keyring([b"n" * 32]).tagged("csrf", "session", tag)


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """Without one, the data directory has it, readable by its owner only; the next start finds the same."""
    first = with_secret_key(settings(tmp_path)).secret_key
    second = with_secret_key(settings(tmp_path)).secret_key
    assert first is not None
    assert first == second
    file = tmp_path / "data" / "secret_key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "data").iterdir()) == [file]
    given = with_secret_key(settings(tmp_path, secret_key=GOOD)).secret_key
    assert given == SecretStr(GOOD), "a given one counts"
    file.write_text("")
    with pytest.raises(ValueError, match="holds no secret key"):
        with_secret_key(settings(tmp_path))


@pytest.mark.parametrize(
    "key",
    ["", "short", "x" * 31, "-----BEGIN PUBLIC KEY-----\nMIIBIjANBg\n", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB"],
)
def test_keys_that_are_none(tmp_path: Path, key: str) -> None:
    """A short key, or one that others know, is refused at the start and not repeated; so is an earlier one."""
    for given in ({"secret_key": key}, {"auth": {"previous_secret_keys": [key]}}):
        with pytest.raises(ValidationError) as error:
            settings(tmp_path, **given)
        assert not key or key not in str(error.value.errors(include_input=False)[0]["msg"])


@pytest.mark.parametrize(
    "given",
    [
        {"database_url": POSTGRES},
        {"database_url": POSTGRES, "secret_key": "a" * 64},
        {"database_url": POSTGRES, "secret_key": "changeme-changeme-changeme-0123456789"},
        {"database_url": POSTGRES, "secret_key": GOOD, "auth": {"previous_secret_keys": ["ab" * 20]}},
        {"database_url": "postgresql://postgres:postgres@db/grid", "secret_key": GOOD},
        {"database_url": "postgresql://grid:Password@db/grid", "secret_key": GOOD},
        {"database_url": POSTGRES, "secret_key": GOOD, "redis_url": "redis://:changeme@cache:6379/0"},
        {"secret_key": GOOD, "redis_url": "redis://cache:6379/0"},
    ],
    ids=str,
)
def test_production_refuses_what_is_unsafe(tmp_path: Path, given: dict[str, Any]) -> None:
    """No secret key, one that can be guessed, default credentials, or SQLite under several gateways."""
    with pytest.raises(UnsafeForProduction):
        with_secret_key(settings(tmp_path, env="production", **given))
    assert not (tmp_path / "data").exists(), "nor does it make a key of its own"
    with pytest.raises(UnsafeForProduction):
        keyring_of(settings(tmp_path, env="production", **given))
    with_secret_key(settings(tmp_path, **given))


def test_production_starts_when_all_is_well(tmp_path: Path) -> None:
    """With a key and credentials of one's own, and then an address has to be proven."""
    good = {"database_url": POSTGRES, "secret_key": GOOD, "redis_url": "redis://:k3Jd8sLw@cache/0"}
    whole = with_secret_key(settings(tmp_path, env="production", **good))
    assert whole.verified_email_required
    assert not settings(tmp_path).verified_email_required
    unasked = settings(tmp_path, env="production", auth={"require_verified_email": False})
    assert not unasked.verified_email_required
    assert keyring_of(whole).newest("x") == keyring_of(whole).newest("x")
    assert keyring_of(settings(tmp_path)).newest("x") != keyring_of(settings(tmp_path)).newest("x")
