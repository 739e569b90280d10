"""What a task may ask for by its owner's tier, and what it is taken to cost: data and pure functions."""

from __future__ import annotations

from typing import Any, Final

from neurogrid.auth.policy import Tier
from neurogrid.queue.policy import Priority

WEIGHTS: Final[dict[Tier, float]] = {
    Tier.FREE: 1.0,
    Tier.PRO: 2.0,
    Tier.ENTERPRISE: 4.0,
    Tier.UNLIMITED: 4.0,
}
"""How large a share of a busy model an owner gets, beside others."""

CEILINGS: Final[dict[Tier, Priority]] = {
    Tier.FREE: Priority.NORMAL,
    Tier.PRO: Priority.HIGH,
    Tier.ENTERPRISE: Priority.HIGH,
    Tier.UNLIMITED: Priority.HIGH,
}
"""The highest priority class a tier gets; a task that asks for more gets this."""

AGED_EVERY: Final = 10
"""Every so many claims, one begins with the lowest class, so that nothing starves (R17)."""

CHARACTERS_PER_TOKEN: Final = 4
USUAL_TOKENS: Final = 256
"""Tokens a generation that names no bound is taken to produce."""


def priority_of(tier: Tier, wanted: str) -> Priority:
    """Return the priority class a task gets."""
    return max(Priority[wanted.upper()], CEILINGS[tier])


def is_deterministic(declared: bool, parameters: dict[str, Any]) -> bool:  # noqa: FBT001 - what a model says
    """Tell whether the same request gives the same output: the model says so, and no temperature is asked for."""
    return declared and not parameters.get("temperature")


GENERATION: Final = "text-generation"
"""The kind of models whose tokens are limited."""


def cost_of(kind: str, input_size: int, parameters: dict[str, Any]) -> float:
    """Estimate what a task costs: tokens where its kind of model counts them, else 1.

    ``input_size`` is the length of its input as JSON.
    """
    tokens = 1 + input_size / CHARACTERS_PER_TOKEN
    if kind == GENERATION:
        bound = parameters.get("max_tokens")
        return tokens + (bound if isinstance(bound, int) else USUAL_TOKENS)
    return tokens if kind == "embeddings" else 1.0
