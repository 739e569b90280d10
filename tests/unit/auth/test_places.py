"""Where guesses come from, and how long the next has to wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neurogrid.auth.lockout import FROM_ALL, PASSWORDS, Limit, Rule, rules_of
from neurogrid.auth.visitors import Visitor, network_of


def test_delays() -> None:
    """From many places they double up to a minute; from one they grow until the last guess is to be waited out."""
    rule = Rule(free=2, first=10, longest=60)
    assert [rule.delay(n).total_seconds() for n in (1, 2, 3, 4, 5, 500)] == [0, 10, 20, 40, 60, 60]
    assert FROM_ALL.longest <= 60
    assert isinstance(PASSWORDS.place, Limit)
    assert [PASSWORDS.place.delay(n).total_seconds() for n in (1, 2, 3, 4, 5, 6, 500)] == [
        0, 0, 6.25, 75, 900, 900, 900,
    ]  # fmt: skip


@given(st.sampled_from(["5/15 minutes", "1/minute", "2/hour", "20/10 minutes"]), st.integers(1, 60))
def test_no_window_sees_more_guesses_than_its_limit(rate: str, guesses: int) -> None:
    """LIM-2, AUTH-6: whoever guesses as soon as the delay is over never gets more into any window."""
    rule = rules_of(rate).place
    assert isinstance(rule, Limit)
    moments, now = [], 0.0
    for n in range(1, guesses + 1):
        moments.append(now)
        now += rule.delay(n).total_seconds()
    for moment in moments:
        assert sum(moment <= other < moment + rule.seconds for other in moments) <= rule.most
    assert rules_of("").place is None


def test_networks() -> None:
    """One customer's addresses are one place, in either family."""
    assert network_of("203.0.113.9") == network_of("203.0.113.200") == "203.0.113.0/24"
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:ff::1") == "2001:db8:1::/56"
    assert network_of("::ffff:203.0.113.9") == "203.0.113.0/24"
    assert network_of("fe80::1%eth0") == "fe80::/56"
    assert network_of("testclient") == "testclient"
    assert Visitor("203.0.113.9").network == "203.0.113.0/24"
