"""The lanes a gateway knows, and its belief about which are empty."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from neurogrid.dispatch.lanes import Lanes
from neurogrid.dispatch.policy import LaneSpec
from neurogrid.queue.upkeep import LaneInfo, Upkeep


class Table:
    """The table of lanes, shared by gateways."""

    def __init__(self) -> None:
        self.rows: dict[str, LaneInfo] = {}
        self.writes = 0

    async def know_lane(self, lane: LaneInfo) -> None:
        self.writes += 1
        self.rows[lane.lane] = lane

    async def lanes(self, after: str = "") -> list[LaneInfo]:
        return sorted((row for row in self.rows.values() if row.lane > after), key=lambda row: row.lane)


def lanes_of(table: Table | None = None) -> Lanes:
    return Lanes(cast("Upkeep", table or Table()))


def test_a_lane_without_requirements_is_its_model() -> None:
    """R15: the common case costs no row."""
    table = Table()
    assert asyncio.run(lanes_of(table).lane("m", {})) == "m"
    assert not table.writes


def test_equal_requirements_share_a_lane() -> None:
    """R15: a lane depends on what is required, not on the order in which it is said; it is written once."""

    async def main() -> None:
        table = Table()
        lanes = lanes_of(table)
        one = await lanes.lane("m", {"a": "1", "b": "2"})
        assert await lanes.lane("m", {"b": "2", "a": "1"}) == one
        assert table.writes == 1
        others = {await lanes.lane("m", {"a": "1"}), await lanes.lane("n", {"a": "1", "b": "2"}), one, "m"}
        assert len(others) == 4

    asyncio.run(main())


def test_other_gateways_learn_what_a_lane_requires() -> None:
    """R15: a gateway that only heard of a lane learns its requirements before it claims from it."""

    async def main() -> None:
        table = Table()
        lane = await lanes_of(table).lane("m", {"gpu": "yes"})
        other = lanes_of(table)
        assert other.spec(lane).model != "m"  # no node serves a model of this name
        await other.learn()
        assert other.spec(lane) == LaneSpec(lane, "m", {"gpu": "yes"})
        other.probe(["m"])
        assert {spec.lane for spec in other.claimable()} == {"m", lane}

    asyncio.run(main())


def test_sets_of_requirements_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """R15: users choose what they require, so a gateway keeps only so many different sets in mind."""
    monkeypatch.setattr("neurogrid.dispatch.lanes.MOST_LANES", 2)

    async def main() -> None:
        lanes = lanes_of()
        names = [await lanes.lane("m", {"a": value}) for value in ("1", "2", "1")]
        await lanes.lane("m", {"a": "3"})
        assert lanes.spec(names[0]).requires == {"a": "1"}
        assert lanes.spec(names[1]).model != "m"  # forgotten: asked for longest ago, and nothing queued
        assert await lanes.lane("m", {}) == "m"

    asyncio.run(main())


def test_a_lane_is_hot_until_a_claim_comes_back_empty() -> None:
    """R18: a hint makes a lane worth claiming; an empty claim ends that."""
    lanes = lanes_of()
    assert not lanes.claimable()
    lanes.heat("m")
    assert lanes.is_hot("m")
    assert [spec.lane for spec in lanes.claimable()] == ["m"]
    lanes.cool("m", lanes.hints)
    assert not lanes.is_hot("m")
    assert not lanes.claimable()


def test_a_hint_outlives_the_claim_that_began_before_it() -> None:
    """R18: a task that arrives while a claim is under way does not wait for the next poll."""
    lanes = lanes_of()
    lanes.heat("m")
    seen = lanes.hints
    lanes.heat("m")
    lanes.cool("m", seen)
    assert lanes.is_hot("m")


def test_a_probe_is_one_try() -> None:
    """R18: a poll tries a lane once; only a task found makes it hot."""
    lanes = lanes_of()
    lanes.probe(["m"])
    assert [spec.lane for spec in lanes.claimable()] == ["m"]
    assert not lanes.is_hot("m")
    lanes.cool("m", lanes.hints)
    assert not lanes.claimable()
    lanes.probe(["m"])
    lanes.found("m")
    assert lanes.is_hot("m")
    lanes.cool("m", lanes.hints)
    assert not lanes.is_hot("m")


def test_lanes_take_turns() -> None:
    """R15: the lane that was first in one round is last in the next."""
    lanes = lanes_of()
    for lane in "abc":
        lanes.heat(lane)
    firsts = [lanes.claimable()[0].lane for _ in range(6)]
    assert firsts == ["a", "b", "c"] * 2
