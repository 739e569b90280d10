"""What a tier may ask for."""

from __future__ import annotations

import pytest

from neurogrid.auth.policy import Tier
from neurogrid.queue.policy import Priority
from neurogrid.tasks.policy import priority_of


@pytest.mark.parametrize(
    ("tier", "wanted", "given"),
    [
        (Tier.FREE, "high", Priority.NORMAL),
        (Tier.FREE, "normal", Priority.NORMAL),
        (Tier.FREE, "low", Priority.LOW),
        (Tier.PRO, "high", Priority.HIGH),
        (Tier.ENTERPRISE, "high", Priority.HIGH),
        (Tier.ENTERPRISE, "low", Priority.LOW),
    ],
)
def test_priority_is_capped_by_the_tier(tier: Tier, wanted: str, given: Priority) -> None:
    """R17: a task gets the class it asks for, up to the ceiling of its owner's tier."""
    assert priority_of(tier, wanted) is given
