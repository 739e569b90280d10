"""What a browser carries to a provider and back, and where it may be sent then."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest

from neurogrid.auth.oauth import flows
from neurogrid.core.crypto import Keyring
from neurogrid.core.errors import Invalid

KEYRING = Keyring([b"k" * 32])


@pytest.mark.parametrize(
    "path", ["/", "/app", "/app/tasks?status=failed&x=http://y", "/a%2fb", "/@evil.example", "/a//b", "/;a=1"]
)
def test_paths_of_ours(path: str) -> None:
    """A path of this grid is taken as it is."""
    assert flows.own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "app", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "/\n/evil.example", "https://evil.example", "https:/evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1",
        "/a b", "/a#token=1", "/é", " /a", "/a\\b", "/\x00", "/" + "a" * 512, "@evil.example", ".evil.example",
    ],
)  # fmt: skip
def test_paths_of_others(path: str) -> None:
    """Whatever a browser could take for another host, a header or a fragment is refused."""
    with pytest.raises(Invalid):
        flows.own_path(path)


def test_a_flow_is_sealed() -> None:
    """Only this grid reads and makes what a browser carries, and for this purpose alone."""
    flow = flows.begin("google", "/app", "ngi_x")
    sealed = flows.seal(KEYRING, flow)
    assert flows.unseal(KEYRING, sealed) == flow
    assert flow.state not in sealed
    changed = base64.urlsafe_b64decode(sealed + "==")
    changed = changed[:-1] + bytes([changed[-1] ^ 1])
    for other in (None, "", "x", "é", sealed[:-4], base64.urlsafe_b64encode(changed).decode()):
        assert flows.unseal(KEYRING, other) is None
    assert flows.unseal(Keyring([b"x" * 32]), sealed) is None
    assert flows.unseal(KEYRING, flows.seal_object(KEYRING, {"provider": "google"}, "another place")) is None


def test_answers_to_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is one by the same provider, with the same state, in time; an empty state is none."""
    flow = flows.begin("google", "/")
    assert flow.answers("google", flow.state)
    assert not flow.answers("discord", flow.state)
    assert not flow.answers("google", "")
    assert not flow.answers("google", flow.state[:-1])
    monkeypatch.setattr(time, "time", lambda: flow.expires + 1)
    assert not flow.answers("google", flow.state)


def test_pkce() -> None:
    """The challenge is the S256 of a verifier that RFC 7636 admits; each flow has its own of everything."""
    flow, other = flows.begin("google", "/"), flows.begin("google", "/")
    assert 43 <= len(flow.verifier) <= 128
    digest = hashlib.sha256(flow.verifier.encode("ascii")).digest()
    assert base64.urlsafe_b64decode(flow.challenge + "=") == digest
    mine, others = ({each.state, each.nonce, each.verifier} for each in (flow, other))
    assert len(mine) == len(others) == 3
    assert not mine & others
