"""Which figures of a node are believed."""

from __future__ import annotations

import math

import pytest

from neurogrid.dispatch.outcomes import CLOCK_SLACK, LONGEST_RUN, MOST_TOKENS, at_most, believable
from neurogrid.protocol.messages import Usage


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(1, 2, 0.5), Usage(MOST_TOKENS, MOST_TOKENS, LONGEST_RUN)], ids=str
)
def test_what_can_be_is_believed(usage: Usage) -> None:
    """Figures from nothing to the most there can be."""
    assert believable(usage)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(-1, 2, 0.5),
        Usage(1, -2, 0.5),
        Usage(1, 2, -0.5),
        Usage(2**31, 2, 0.5),
        Usage(1, 10**20, 0.5),
        Usage(1, 2, 1e308),
        Usage(1, 2, math.nan),
        Usage(1, 2, math.inf),
    ],
    ids=str,
)
def test_what_cannot_be_is_not(usage: Usage) -> None:
    """Negative, beyond all measure, and no number."""
    assert not believable(usage)


def test_no_more_compute_than_the_attempt_lasted() -> None:
    """What a node exaggerates is cut to the time that passed; what can be is left as it is."""
    assert at_most(Usage(1, 2, 3000.0), 2.0) == Usage(1, 2, 2.0 + CLOCK_SLACK)
    honest = Usage(1, 2, 2.5)
    assert at_most(honest, 2.0) is honest
