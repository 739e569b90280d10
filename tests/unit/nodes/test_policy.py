"""What tokens allow, and where orders lead."""

from __future__ import annotations

import pytest

from neurogrid.core.errors import Forbidden
from neurogrid.nodes.policy import FROM, NodeState, Scope
from neurogrid.protocol.messages import Hello, ModelSpec


def hello(name: str, *models: str) -> Hello:
    return Hello(name=name, version="1", models=[ModelSpec(model, "1", "test") for model in models], slots=1)


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        (Scope("t"), True),
        (Scope("t", node="lab"), True),
        (Scope("t", node="lab-1"), False),
        (Scope("t", models=frozenset({"a", "b", "c"})), True),
        (Scope("t", models=frozenset({"a"})), False),
        (Scope("t", node="lab-1", models=frozenset({"a", "b"})), False),
        (Scope("t", models=frozenset()), False),
    ],
)
def test_a_scope_bounds_name_and_models(scope: Scope, *, allowed: bool) -> None:
    """A node has the token's name and no model beyond the token's, where it names any."""
    if allowed:
        scope.check(hello("lab", "a", "b"))
    else:
        with pytest.raises(Forbidden):
            scope.check(hello("lab", "a", "b"))


def test_a_refusal_fits_into_a_close() -> None:
    """However long the names are, the reason fits into a WebSocket's close frame."""
    for scope in (Scope("t", node="x" * 200), Scope("t", models=frozenset({"a"}))):
        with pytest.raises(Forbidden) as refused:
            scope.check(hello("lab", "y" * 200))
        assert len(refused.value.detail) < 123


def test_no_order_makes_less_of_another() -> None:
    """Orders are idempotent, and none but uncordon takes a drain back."""
    assert set(FROM) == set(NodeState)
    assert all(state not in origins for state, origins in FROM.items())
    assert [state for state, origins in FROM.items() if NodeState.DRAINING in origins] == [NodeState.ACTIVE]
