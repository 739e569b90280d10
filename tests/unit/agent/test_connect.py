"""Where a node connects to, and how patiently."""

from __future__ import annotations

import pytest

from neurogrid.agent.connect import Backoff, node_url


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("ws://grid:8000", "ws://grid:8000/v1/nodes/connect"),
        ("http://grid:8000/", "ws://grid:8000/v1/nodes/connect"),
        ("https://grid", "wss://grid/v1/nodes/connect"),
        ("grid:8000", "ws://grid:8000/v1/nodes/connect"),
        ("wss://grid/behind/a/proxy", "wss://grid/behind/a/proxy"),
    ],
)
def test_url_of_the_gateway_is_enough(given: str, used: str) -> None:
    """People give the gateway's address; the path is known."""
    assert node_url(given) == used


@pytest.mark.parametrize("given", ["", "ftp://grid", "ws://", "/socket"])
def test_other_urls_are_refused(given: str) -> None:
    """A URL that cannot work is refused at once."""
    with pytest.raises(ValueError, match="ws://host:port"):
        node_url(given)


def test_backoff_grows_up_to_its_bound() -> None:
    """Delays double with up to half of it taken off at random, and begin anew after a success."""
    backoff = Backoff(0.2, 5.0)
    for ceiling in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        assert ceiling / 2 <= backoff.next() <= ceiling
    backoff.reset()
    assert backoff.next() <= 0.2
