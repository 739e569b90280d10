"""Placement: filter, then score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from neurogrid.dispatch.policy import LaneSpec, choose, eligible, satisfies, seconds_left, time_allowed

PLAIN = LaneSpec("m", "m", {})
GPU = LaneSpec("m#1", "m", {"gpu": "yes", "zone": "a"})


@dataclass
class Candidate:
    """A node as placement sees it."""

    slots: int = 1
    load: float = 0.0
    accepting: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    model: str = "m"

    def free(self, model: str) -> int:
        return self.slots if model == self.model else 0


def test_only_nodes_that_can_are_eligible() -> None:
    """A node must accept, serve the model and have a slot."""
    assert eligible(Candidate(), PLAIN)
    assert not eligible(Candidate(accepting=False), PLAIN)
    assert not eligible(Candidate(slots=0), PLAIN)
    assert not eligible(Candidate(model="other"), PLAIN)


def test_requirements_are_met_exactly() -> None:
    """R15: a lane's tasks go only to nodes with all labels the lane requires, of equal value."""
    assert satisfies({"gpu": "yes", "zone": "a", "more": "1"}, GPU.requires)
    assert not satisfies({"gpu": "yes"}, GPU.requires)
    assert not satisfies({"gpu": "yes", "zone": "b"}, GPU.requires)
    assert not eligible(Candidate(labels={"zone": "a"}), GPU)
    assert eligible(Candidate(labels={"gpu": "yes", "zone": "a"}), GPU)


def test_nobody_is_chosen_when_nobody_can() -> None:
    """Without an eligible node a task waits."""
    assert choose([], PLAIN) is None
    assert choose([Candidate(slots=0), Candidate(accepting=False)], PLAIN) is None


@given(st.lists(st.builds(Candidate, slots=st.integers(0, 2), load=st.floats(0, 1), accepting=st.booleans())))
def test_the_least_loaded_eligible_node_is_chosen(nodes: list[Candidate]) -> None:
    """Work goes where the smallest share of slots is in use."""
    chosen = choose(nodes, PLAIN)
    fit = [node for node in nodes if eligible(node, PLAIN)]
    if chosen is None:
        assert not fit
    else:
        assert chosen in fit
        assert chosen.load == min(node.load for node in fit)


def test_the_nearer_limit_counts() -> None:
    """An attempt may run for its time-out, but not past the deadline; without either it may run for ever."""
    assert time_allowed(None, None) is None
    assert time_allowed(5.0, None) == 5.0
    assert time_allowed(None, 3.0) == 3.0
    assert time_allowed(5.0, 3.0) == time_allowed(3.0, 5.0) == 3.0
    assert time_allowed(5.0, -1.0) == -1.0


def test_time_left_is_counted_from_now() -> None:
    """The time before a deadline is negative once it has passed."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert seconds_left(None, now) is None
    assert seconds_left(now + timedelta(seconds=90), now) == 90
    assert seconds_left(now - timedelta(seconds=1), now) == -1
