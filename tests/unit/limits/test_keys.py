"""Whom requests are counted against (LIM-2, HTTP-4)."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from neurogrid.core.http.proxies import TrustedProxies
from neurogrid.limits.keys import network_of


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("/run/gateway.sock", "local"),
        ("", "local"),
    ],
)
def test_an_address_stands_for_its_site(host: str, network: str) -> None:
    """Of IPv6 the /64 counts: whoever has one of its addresses has them all. IPv4 is IPv4 however it is written."""
    assert network_of(host) == network


async def _client(networks: str, peer: str, *forwarded: str, proto: str = "") -> tuple[str, str]:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)

    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    if proto:
        headers.append((b"x-forwarded-proto", proto.encode()))
    scope = {"type": "http", "scheme": "http", "client": (peer, 1234), "headers": headers}
    await TrustedProxies(app, networks)(scope, None, None)  # type: ignore[arg-type]  # nothing is received or sent
    return seen["client"][0], seen["scheme"]


OURS = "10.0.0.0/8,2001:db8:ffff::/48"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),  # nobody asked it
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),  # the left one is made up
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),  # in a header of its own, too
        ("10.0.0.1", ["10.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8:ffff::1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [", ".join(["1.1.1.1"] * 500 + ["203.0.113.9"])], "203.0.113.9"),
    ],
)
async def test_only_our_proxies_are_believed(peer: str, forwarded: list[str], client: str) -> None:
    """The client is the first from the right that is no proxy of ours; what anybody wrote further left counts nothing."""
    assert (await _client(OURS, peer, *forwarded))[0] == client


@pytest.mark.asyncio
async def test_tls_is_believed_from_our_proxies_alone() -> None:
    """Whether a request came by TLS is taken from whom we trust, and never made less safe than it is."""
    assert (await _client(OURS, "10.0.0.1", proto="https"))[1] == "https"
    assert (await _client(OURS, "192.0.2.1", proto="https"))[1] == "http"
    assert (await _client(OURS, "10.0.0.1", proto="javascript"))[1] == "http"
