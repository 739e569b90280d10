"""The seam of ``neurogrid drill --self-test``: one protection of the grid, switched off.

A drill that cannot fail proves nothing, so it takes away what keeps the laws true and has to notice. This is no
setting: only the drill gives the variable, to gateways that it throws away, and production refuses it.
"""

from __future__ import annotations

import os
from enum import StrEnum

VARIABLE = "NEUROGRID_DRILL_SABOTAGE"


class Protection(StrEnum):
    """What can be switched off; each is asked for in a single place."""

    FENCE = "fence"
    """A result counts only for the running attempt (R1)."""
    LEASE = "lease"
    """Tasks of a node that is gone are taken back (R4)."""
    COMMIT = "commit"
    """A task is accepted only when its row is durable (R8)."""
    RESUME = "resume"
    """A stream goes on after the last event its client has seen (R22)."""


def switched_off(*, production: bool) -> Protection | None:
    """Return what is switched off. Raises ``ValueError`` for what does not exist, and for anything in production."""
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    if production:
        msg = f"{VARIABLE} switches a protection off; it has no place in production"
        raise ValueError(msg)
    return Protection(name)
