"""The order of service, on both databases and in virtual time: one slot, one claim after the other (R16, R17)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from neurogrid.core.ids import new_id
from neurogrid.dispatch.fairness import FairClock
from neurogrid.queue.answers import Claimed
from neurogrid.queue.ops import Finish, Insert, Requeue, SessionRef, Want
from neurogrid.queue.policy import Charge, Priority, Status
from tests.support.queue import insertion
from tests.support.truth import Truth, truth_of

pytestmark = pytest.mark.asyncio

LANE = "lane"


class Shop:
    """A grid with one slot: tasks come in, and are served one by one."""

    def __init__(self, truth: Truth, session: SessionRef) -> None:
        self.truth = truth
        self.session = session
        self.clock = FairClock(lambda: 0.0)

    async def submit(
        self, owner: str, count: int, *, weight: float = 1.0, priority: Priority = Priority.NORMAL
    ) -> None:
        ops: list[Insert] = []
        for _ in range(count):
            cost, present = self.clock.price(owner, LANE, priority, 1.0)
            ops.append(
                insertion(
                    owner=owner, lane=LANE, cost=cost, weight=weight, present=present, priority=priority.value
                )
            )
        await self.truth.do(*ops)

    async def serve(self, count: int, *, aged: bool = False) -> list[str]:
        """Claim and finish ``count`` tasks; return whose they were."""
        owners = []
        for _ in range(count):
            claimed = await self.truth.one(Want(LANE, self.session, aged=aged and self.clock.aged()))
            assert isinstance(claimed, Claimed)
            self.clock.served(LANE, claimed.priority, claimed.rank)
            await self.truth.one(Finish(claimed.task, claimed.attempt, Status.COMPLETED, 2))
            owners.append(claimed.owner)
        return owners


@pytest_asyncio.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with truth_of(database_url) as truth:
        yield Shop(truth, await truth.session())


async def test_a_newcomer_does_not_wait_behind_a_crowd(shop: Shop) -> None:
    """R17: ten tasks beside another owner's thousand are served as if the grid had two users."""
    crowd, newcomer = new_id(), new_id()
    await shop.submit(crowd, 500)
    await shop.submit(crowd, 500)
    assert set(await shop.serve(20)) == {crowd}
    await shop.submit(newcomer, 10)
    served = await shop.serve(22)
    assert served.count(newcomer) == 10


async def test_weights_share_a_busy_lane(shop: Shop) -> None:
    """R17: an owner of four times the weight gets four times the share, within 15 %."""
    free, enterprise = new_id(), new_id()
    await shop.submit(free, 200)
    await shop.submit(enterprise, 200, weight=4.0)
    share = Counter(await shop.serve(150))[enterprise] / 150
    assert share == pytest.approx(0.8, rel=0.15)


async def test_coming_back_gives_no_credit_for_absence(shop: Shop) -> None:
    """R17: who was away does not get the turns of that time at once, and is not made to wait either."""
    steady, late = new_id(), new_id()
    await shop.submit(steady, 60)
    await shop.serve(40)
    await shop.submit(late, 20)
    served = await shop.serve(20)
    assert 9 <= served.count(late) <= 11


async def test_classes_come_first(shop: Shop) -> None:
    """A higher class is served before a lower one, whatever the ranks."""
    low, high = new_id(), new_id()
    await shop.submit(low, 5, priority=Priority.LOW)
    await shop.submit(high, 5, priority=Priority.HIGH)
    assert await shop.serve(10) == [high] * 5 + [low] * 5


async def test_the_lowest_class_is_never_starved(shop: Shop) -> None:
    """R17: of claims that are never without a higher class, every tenth begins with the lowest."""
    low, high = new_id(), new_id()
    await shop.submit(low, 5, priority=Priority.LOW)
    await shop.submit(high, 60, priority=Priority.HIGH)
    assert (await shop.serve(50, aged=True)).count(low) == 5


async def test_nothing_is_queued_below_the_floors(shop: Shop) -> None:
    """R16: a gateway that has just started, or slept, ranks by the clock of all, not by its own; so does a retry."""
    clock = ("lane", Priority.NORMAL.value)
    await shop.truth.upkeep.sync_clocks({clock: 3.0})
    await shop.submit(new_id(), 1)
    claimed = await shop.truth.one(Want(LANE, shop.session))
    assert claimed.rank == 4.0
    again = Requeue(claimed.task, claimed.attempt, Status.WAITING, Charge.ERROR, "error")
    assert await shop.truth.one(again)
    await shop.truth.upkeep.sync_clocks({clock: 30.0})
    assert await shop.truth.upkeep.promote() == [LANE]
    assert (await shop.truth.one(Want(LANE, shop.session))).rank == 30.0


async def test_a_claim_looks_no_lower_than_its_floor(shop: Shop, database_url: str) -> None:
    """R16: on PostgreSQL ranks below the floor are passed over; a claim without a floor finds them."""
    if database_url.startswith("sqlite"):
        return  # its claims do not rot, and look at everything
    owner = new_id()
    await shop.submit(owner, 3)
    floors = (0.0, 2.5, 0.0)
    assert (await shop.truth.one(Want(LANE, shop.session, floors))).rank == 3.0
    assert await shop.truth.one(Want(LANE, shop.session, floors)) is None
    assert (await shop.truth.one(Want(LANE, shop.session))).rank == 1.0
