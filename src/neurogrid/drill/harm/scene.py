"""Where misfortunes happen: the grid, who is busy with one, and who hears of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from neurogrid.drill.grid import Gateway, Grid, Node
from neurogrid.drill.harm.plan import Misfortune

Tell = Callable[[str], None]
Act = Callable[[Misfortune], Awaitable[bool]]
"""Lets a misfortune happen, from its beginning to its end; ``False`` when it found no victim."""


@dataclass(slots=True)
class Scene:
    """What all acts share. ``tell`` hears of everything that happens."""

    grid: Grid
    choose: random.Random
    tell: Tell
    begun: float = field(default_factory=time.monotonic)
    complaints: list[str] = field(default_factory=list)
    """What was no loss, but not right either."""
    _busy: dict[int, asyncio.Lock] = field(default_factory=dict)

    @property
    def clock(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    def say(self, what: str) -> None:
        """Tell what happens."""
        self.tell(f"{self.clock:6.1f} s  {what}")

    def complain(self, what: str) -> None:
        """Note that something was not right."""
        self.complaints.append(f"{what} at {self.clock:.1f} s")
        self.say(what)

    def supervise(self) -> None:
        """Start those again that ended without our doing, and complain about them."""
        before = {process: process.returncode for process in self.grid.processes}
        for process in self.grid.revive():
            self.complain(f"{process.name} ended by itself with {before[process]}")

    def alone(self, victim: object) -> asyncio.Lock:
        """Return what to hold while something is done to ``victim``: it takes one misfortune after the other."""
        return self._busy.setdefault(id(victim), asyncio.Lock())

    def gateway(self, misfortune: Misfortune) -> Gateway:
        """Return the gateway that is meant."""
        return self.grid.gateways[misfortune.target % len(self.grid.gateways)]

    def node(self, misfortune: Misfortune) -> Node:
        """Return the node that is meant."""
        return self.grid.nodes[misfortune.target % len(self.grid.nodes)]
