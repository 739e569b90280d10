"""Placement: filter, then score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from neurogrid.dispatch.policy import LaneSpec, choose, eligible, satisfies

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
