"""Where guesses come from, and how long the next has to wait."""

from __future__ import annotations

from neurogrid.auth.lockout import FROM_ALL, FROM_ONE_PLACE, Rule
from neurogrid.auth.visitors import Visitor, network_of


def test_delays() -> None:
    """They double from the first to the longest, which from one place is a quarter of an hour."""
    rule = Rule(free=2, first=10, longest=60)
    assert [rule.delay(n).total_seconds() for n in (1, 2, 3, 4, 5, 500)] == [0, 10, 20, 40, 60, 60]
    assert FROM_ONE_PLACE.longest == 900
    assert FROM_ALL.longest <= 60


def test_networks() -> None:
    """One customer's addresses are one place, in either family."""
    assert network_of("203.0.113.9") == network_of("203.0.113.200") == "203.0.113.0/24"
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:ff::1") == "2001:db8:1::/56"
    assert network_of("::ffff:203.0.113.9") == "203.0.113.0/24"
    assert network_of("fe80::1%eth0") == "fe80::/56"
    assert network_of("testclient") == "testclient"
    assert Visitor("203.0.113.9").network == "203.0.113.0/24"
