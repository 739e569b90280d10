"""A stand-in gateway for the tests of the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.client import stand_in


@pytest.fixture(scope="module")
def running_gateway() -> Iterator[stand_in.StandIn]:
    """A stand-in for a gateway, on a real socket."""
    with stand_in.running() as running:
        yield running


@pytest.fixture
def gateway(running_gateway: stand_in.StandIn) -> stand_in.StandIn:
    """The stand-in, knowing nothing of earlier tests."""
    running_gateway.requests.clear()
    running_gateway.scripts.clear()
    return running_gateway
