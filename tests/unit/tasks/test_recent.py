"""Values that are good for some seconds."""

from __future__ import annotations

import asyncio

import pytest

from neurogrid.tasks.recent import Recent

pytestmark = pytest.mark.asyncio


class Source:
    """Makes a new value each time; its clock moves when told, and by as much as making takes."""

    def __init__(self, takes: float = 0.0) -> None:
        self.made = 0
        self.time = 100.0
        self.takes = takes
        self.recent: Recent[str, int] = Recent(1.0, most=2, now=lambda: self.time)

    async def make(self) -> int:
        await asyncio.sleep(0)
        self.time += self.takes
        self.made += 1
        return self.made

    async def get(self, key: str = "a") -> tuple[int, float]:
        return await self.recent.get(key, self.make)


async def test_a_value_is_used_again_while_it_is_fresh() -> None:
    """Within its time a value is not made again, and its age is told; after that it is."""
    source = Source()
    assert await source.get() == (1, 0.0)
    source.time += 1.0
    assert await source.get() == (1, 1.0)
    source.time += 0.1
    assert await source.get() == (2, 0.0)


async def test_those_who_ask_at_once_share_one_value() -> None:
    """A hundred who ask in the same moment make one value."""
    source = Source()
    assert {value for value, _ in await asyncio.gather(*(source.get() for _ in range(100)))} == {1}


async def test_the_time_that_making_takes_counts() -> None:
    """A value is as old as the question that it answers."""
    value, age = await Source(takes=0.4).get()
    assert (value, round(age, 6)) == (1, 0.4)


async def test_what_is_kept_is_bounded() -> None:
    """Users choose the keys, so they are forgotten when there are too many."""
    source = Source()
    for key in ("a", "b", "c"):
        await source.get(key)
    assert (await source.get("b"))[0] == 4
