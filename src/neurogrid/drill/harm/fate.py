"""Brings the schedule of misfortunes over the grid."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from neurogrid.drill.harm.network import NetworkHarm
from neurogrid.drill.harm.operators import OperatorHarm
from neurogrid.drill.harm.plan import Family, Kind, Misfortune
from neurogrid.drill.harm.processes import ProcessHarm
from neurogrid.drill.harm.scene import Scene
from neurogrid.drill.harm.servers import ServerHarm


class Fate:
    """Lets misfortunes happen at their times, one at a time for each victim, and counts them."""

    def __init__(self, scene: Scene) -> None:
        """Act in ``scene``."""
        self._scene = scene
        self._operators = OperatorHarm(scene)
        self._acts = {
            **ProcessHarm(scene).acts(),
            **NetworkHarm(scene).acts(),
            **ServerHarm(scene).acts(),
            **self._operators.acts(),
        }
        self.happened: Counter[Kind] = Counter()

    def count(self, family: Family) -> int:
        """Return how many misfortunes of a family came to pass."""
        return sum(number for kind, number in self.happened.items() if kind.family is family)

    async def run(self, misfortunes: Iterable[Misfortune]) -> None:
        """Run the schedule; returns when the last misfortune is over and its victim was started again."""
        async with asyncio.TaskGroup() as group:
            for misfortune in misfortunes:
                await asyncio.sleep(misfortune.at - self._scene.clock)
                group.create_task(self._befall(misfortune))

    async def mend(self) -> None:
        """Undo all that was done. Raises ``GridFailed``."""
        await self._scene.grid.mend()
        await self._operators.take_all_back()

    async def _befall(self, misfortune: Misfortune) -> None:
        if await self._acts[misfortune.kind](misfortune):
            self.happened[misfortune.kind] += 1
        else:
            self._scene.say(f"{misfortune.kind} found no victim")
