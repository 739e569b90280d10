"""When a task ends with its readers, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from neurogrid.core.settings import LiveSettings
from neurogrid.events.memory import MemoryBus
from neurogrid.streams.desertion import ASK_WITHIN, Desertion
from tests.support.virtual_time import run_in_virtual_time

GRACE = 3.0
OUTAGE = 2.0
"""Seconds that leave room for questions to be repeated."""
TASK = "0190b0f0-0000-7000-8000-000000000001"


class Tasks:
    """Remembers what is cancelled."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.owner = "ada" if wanted else None
        self.canceled: list[tuple[str, str]] = []
        self.outages = 0

    async def wanted(self, task: str) -> str | None:
        if self.outages:
            self.outages -= 1
            raise ConnectionResetError
        return self.owner

    async def cancel(self, owner: str, task: str, *, patient: bool = False) -> bool:
        assert patient
        self.canceled.append((owner, task))
        return True


class Grid:
    """Gateways on one bus; ``readers`` says for each whether it has some."""

    def __init__(self, gateways: int = 1, *, wanted: bool = True) -> None:
        self.bus = MemoryBus(LiveSettings())
        self.tasks = Tasks(wanted=wanted)
        self.readers = [False] * gateways
        self.gateways = [
            Desertion(self.bus, self.tasks, self._reads(index), GRACE) for index in range(gateways)
        ]

    def _reads(self, index: int) -> Callable[[str], bool]:
        return lambda task: self.readers[index] and task == TASK

    async def judge(self, **ends: Any) -> list[tuple[str, str]]:
        """Let a reader leave the first gateway; return what was cancelled after that."""
        for gateway in self.gateways:
            await gateway.start()
        self.gateways[0].left(TASK)
        for moment, (index, reads) in ends.items():
            del moment
            await asyncio.sleep(GRACE / 4)
            self.readers[index] = reads
        await asyncio.sleep(GRACE + 2 * ASK_WITHIN + OUTAGE)
        for gateway in self.gateways:
            await gateway.close()
        return self.tasks.canceled


@pytest.mark.parametrize("gateways", [1, 3])
def test_a_task_nobody_reads_is_cancelled(gateways: int) -> None:
    """When the last reader stays away, on every gateway, the task is cancelled, once, for its owner."""
    assert run_in_virtual_time(Grid(gateways).judge()) == [("ada", TASK)]


def test_an_outage_saves_no_deserted_task() -> None:
    """A database that is away when a reader leaves is asked again."""
    grid = Grid()
    grid.tasks.outages = 2
    assert run_in_virtual_time(grid.judge()) == [("ada", TASK)]


def test_only_tasks_that_asked_for_it() -> None:
    """`detach`, and tasks that are over, are left alone."""
    assert run_in_virtual_time(Grid(wanted=False).judge()) == []


@pytest.mark.parametrize("where", [0, 1])
def test_a_reader_anywhere_keeps_it(where: int) -> None:
    """A reader who came back within the grace, to whichever gateway, keeps the task alive."""
    assert run_in_virtual_time(Grid(2).judge(later=(where, True))) == []


def test_who_comes_and_goes_again_has_not_stayed() -> None:
    """Who came back and left once more is no reader when the judgement comes."""
    assert run_in_virtual_time(Grid(2).judge(back=(1, True), off=(1, False))) == [("ada", TASK)]


def test_a_later_leave_begins_the_grace_anew() -> None:
    """Of two readers the later one is given the whole grace, and the task is cancelled once."""

    async def story() -> None:
        grid = Grid()
        (gateway,) = grid.gateways
        await gateway.start()
        gateway.left(TASK)
        await asyncio.sleep(GRACE - 0.1)
        gateway.left(TASK)
        await asyncio.sleep(GRACE - 0.1)
        assert grid.tasks.canceled == []
        await asyncio.sleep(0.2 + ASK_WITHIN)
        assert grid.tasks.canceled == [("ada", TASK)]
        await gateway.close()

    run_in_virtual_time(story())


def test_without_redis_nothing_is_cancelled() -> None:
    """While other gateways cannot be asked who reads there, a task goes on."""
    grid = Grid()
    grid.bus.shared, grid.bus.healthy = True, False
    assert run_in_virtual_time(grid.judge()) == []


def test_a_gateway_that_stops_cancels_nothing() -> None:
    """Readers that a stopping gateway sends away come back elsewhere."""

    async def story() -> None:
        grid = Grid()
        (gateway,) = grid.gateways
        await gateway.start()
        gateway.left(TASK)
        await asyncio.sleep(GRACE / 2)
        await gateway.close()
        await asyncio.sleep(GRACE * 2)
        assert grid.tasks.canceled == []

    run_in_virtual_time(story())
