"""The lanes a gateway knows, and which of them may have something to claim (R15, R18)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice

import orjson

from neurogrid.dispatch.policy import LaneSpec
from neurogrid.queue.policy import lane_of
from neurogrid.queue.upkeep import LANE_LIMIT, LaneInfo, Upkeep

HASH_LENGTH = 32
MOST_LANES = 10_000
"""Sets of required labels a gateway keeps in mind; users choose them, so they need a bound."""


class Lanes:
    """Knows what each lane asks for, and believes some of them to be non-empty.

    The belief is only a hint: a lane becomes *hot* when something was queued in it, and cold when a claim came
    back empty that began after the last such hint. Polls probe the others with a single claim.
    """

    def __init__(self, upkeep: Upkeep) -> None:
        """Learn of lanes with requirements through ``upkeep``."""
        self._upkeep = upkeep
        self._special: dict[str, LaneSpec] = {}
        self._queued: set[str] = set()
        """Those of them that had something in it when last asked: the ones worth probing."""
        self._learnt = ""
        self._hot: dict[str, int] = {}
        """The number of a lane's last hint; 0 for one that is only to be probed."""
        self.hints = 0
        """How many hints there were so far."""

    async def lane(self, model: str, requires: dict[str, str]) -> str:
        """Return the lane for ``model`` and ``requires``; every gateway can know it from then on."""
        if not requires:
            return model
        text = orjson.dumps(requires, option=orjson.OPT_SORT_KEYS)
        lane = lane_of(model, hashlib.sha256(text).hexdigest()[:HASH_LENGTH])
        if lane not in self._special:
            self._make_room()
            await self._upkeep.know_lane(LaneInfo(lane, model, text.decode()))
        self._special.pop(lane, None)  # so that it is now the one asked for last
        self._special[lane] = LaneSpec(lane, model, dict(requires))
        return lane

    def _make_room(self) -> None:
        """Forget the lanes asked for longest ago in which nothing is known to be queued."""
        surplus = len(self._special) - MOST_LANES + 1
        idle = (lane for lane in self._special if lane not in self._hot and lane not in self._queued)
        for lane in list(islice(idle, max(surplus, 0))):
            del self._special[lane]

    def spec(self, lane: str) -> LaneSpec:
        """Return what a lane asks for."""
        return self._special.get(lane) or LaneSpec(lane, lane, {})

    async def learn(self) -> None:
        """Read the lanes with requirements in which tasks are queued, whichever gateway took them."""
        rows = await self._upkeep.lanes(self._learnt)
        self._learnt = rows[-1].lane if len(rows) == LANE_LIMIT else ""  # the next ones at the next round
        self._queued = set()
        for row in rows:
            self._queued.add(row.lane)
            if row.lane not in self._special:
                self._special[row.lane] = LaneSpec(row.lane, row.model, orjson.loads(row.requires))

    def heat(self, lane: str) -> None:
        """Believe that a lane has something to claim."""
        self.hints += 1
        self._hot[lane] = self.hints

    def found(self, lane: str) -> None:
        """Note that a claim brought a task: there may be more."""
        if not self.is_hot(lane):
            self.heat(lane)

    def probe(self, models: Iterable[str]) -> None:
        """See to it that one claim is tried on every lane of ``models``."""
        served = set(models)
        for model in sorted(served):
            self._hot.setdefault(model, 0)
        for lane in self._queued:
            if self._special[lane].model in served:
                self._hot.setdefault(lane, 0)

    def cool(self, lane: str, seen: int) -> None:
        """Believe that a lane is empty, unless there was a hint after the first ``seen`` ones."""
        if self._hot.get(lane, 0) <= seen:
            self._hot.pop(lane, None)

    def is_hot(self, lane: str) -> bool:
        """Tell whether a lane is believed to have something to claim."""
        return self._hot.get(lane, 0) > 0

    def claimable(self) -> list[LaneSpec]:
        """Return the lanes worth a claim, the one that waited longest first, and send it to the end."""
        lanes = [self.spec(lane) for lane in self._hot]
        if lanes:
            first = lanes[0].lane
            self._hot[first] = self._hot.pop(first)
        return lanes
