"""How the node's machine is doing, for its heartbeat."""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def load_average() -> float:
    """Return the 1-minute load average, 0 where the system keeps none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return 0.0


def resident_bytes() -> int:
    """Return the resident memory of this process, 0 where the system does not tell in ``/proc``."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
