"""Which figures of a node are believed."""

from __future__ import annotations

import math

import pytest

from neurogrid.dispatch.outcomes import LONGEST_RUN, MOST_TOKENS, believable
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
