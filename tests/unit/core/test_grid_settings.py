"""Intervals that do not fit together are refused when a process starts, not found out when a node dies."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from neurogrid.core.settings import GridSettings


@pytest.mark.parametrize("given", [{}, {"lease": 3.0, "heartbeat": 0.7}, {"lease": 2.5, "heartbeat": 1.0}])
def test_leases_that_fit_are_taken(given: dict[str, float]) -> None:
    """The defaults, and what is in the same proportion."""
    GridSettings(**given)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"lease": 5.0}, "heartbeat"),
        ({"lease": 1.5, "heartbeat": 0.4}, "reconcile"),
        ({"reconcile": 5.0}, "reconcile"),
    ],
)
def test_leases_that_nobody_could_judge_are_refused(given: dict[str, float], name: str) -> None:
    """R4: with rounds as long as half a lease no gateway would ever be in touch for long enough to sweep."""
    with pytest.raises(ValidationError, match=f"at least 2.5 times {name}"):
        GridSettings(**given)
