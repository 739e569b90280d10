"""How many tasks of one owner run at once (LIM-3): exact, in order, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from neurogrid.core.ids import new_id
from neurogrid.queue.answers import Claimed
from neurogrid.queue.ops import Admit, Cancel, Finish, Insert, SessionRef, Want
from neurogrid.queue.policy import Priority, Status
from tests.support.queue import insertion
from tests.support.truth import TASKS, Truth, truth_of

pytestmark = pytest.mark.asyncio


async def claim(truth: Truth, session: SessionRef, lane: str = "echo", slots: int = 1) -> list[Claimed]:
    return [one for one in await truth.do(*(Want(lane, session) for _ in range(slots))) if one is not None]


async def finish(truth: Truth, *tasks: Claimed) -> list[Any]:
    return await truth.do(*(Finish(one.task, one.attempt, Status.COMPLETED, 2, output="1") for one in tasks))


async def burst(truth: Truth, count: int, at_once: int | None, **fields: Any) -> list[Insert]:
    """Queue ``count`` tasks of one owner."""
    ops = [insertion(**{"at_once": at_once, "owner": OWNER, **fields}) for _ in range(count)]
    await truth.do(*ops)
    return ops


async def standing(truth: Truth, ops: Sequence[Insert]) -> list[str]:
    """Return where tasks stand: their status, or why they wait."""
    rows = [await truth.task(op.id) for op in ops]
    return [row["wait_reason"] if row["status"] == "waiting" else row["status"] for row in rows]


OWNER = new_id()


async def test_no_more_than_so_many_run_and_others_overtake(truth: Truth) -> None:
    """LIM-3: what is over an owner's number waits apart; whoever came later and is below theirs goes first."""
    session = await truth.session()
    mine = await burst(truth, 5, 2)
    others = [await truth.queued() for _ in range(2)]
    claimed = await claim(truth, session, slots=6)
    assert {one.task for one in claimed} == {op.id for op in (*mine[:2], *others)}
    assert await standing(truth, mine) == ["running"] * 2 + ["concurrency"] * 3
    assert await claim(truth, session, slots=6) == []


async def test_each_end_lets_the_next_in(truth: Truth) -> None:
    """LIM-3: in the order of submission, one for one, told in the answer to the end that made room."""
    session = await truth.session()
    mine = await burst(truth, 5, 2)
    running = await claim(truth, session, slots=5)
    order = [one.task for one in running]
    while running:
        (answer,) = await finish(truth, running.pop(0))
        fresh = await claim(truth, session, slots=5)
        assert len(fresh) == (1 if answer.admitted.lanes else 0)
        assert answer.admitted.lanes in {("echo",), ()}
        running += fresh
        order += [one.task for one in fresh]
        assert len(running) <= 2
    assert order == [op.id for op in mine]


async def test_those_that_come_later_do_not_overtake_those_held_back(truth: Truth) -> None:
    """LIM-3: a long queue is set apart bit by bit, and its tail passes nobody; other priorities and lanes have turns."""
    session = await truth.session()
    mine = await burst(truth, 70, 8)
    order: list[str] = []
    while running := await claim(truth, session, slots=10):
        order += [one.task for one in sorted(running, key=lambda one: one.rank)]
        assert len(running) <= 8
        mine += await burst(truth, 4, 8) if len(order) == 8 else []
        await finish(truth, *running)
    assert order == [op.id for op in mine]


async def test_a_lane_nobody_serves_holds_no_other_lane_up(truth: Truth) -> None:
    """LIM-3: room goes to every lane an owner waits in, since nobody knows which of them will be claimed."""
    session = await truth.session()
    await burst(truth, 2, 1)
    (running,) = await claim(truth, session, slots=2)
    unserved = await burst(truth, 2, 1, lane="aaa")
    served = await burst(truth, 1, 1, lane="zzz")
    assert await claim(truth, session, "zzz") == []
    for op in unserved:
        await truth.alter(op.id, status="waiting", wait_reason="concurrency")
    (answer,) = await finish(truth, running)
    assert sorted(answer.admitted.lanes) == ["aaa", "echo", "zzz"]
    (next_,) = await claim(truth, session, "zzz")
    assert next_.task == served[0].id
    assert await claim(truth, session) == []
    assert await standing(truth, unserved) == ["queued", "concurrency"]


async def test_the_fast_path_counts_too(truth: Truth) -> None:
    """LIM-3, R17: a task inserted running is one of those that run, within one batch and after it."""
    session = await truth.session()
    ops = [insertion(owner=OWNER, at_once=2, session=session, lane=new_id()) for _ in range(3)]
    answers = await truth.do(*ops)
    assert sorted(answer.status for answer in answers) == ["queued", "running", "running"]
    late = insertion(owner=OWNER, at_once=2, session=session, lane=new_id())
    assert (await truth.one(late)).status is Status.QUEUED
    other = insertion(at_once=2, session=session, lane=new_id())
    assert (await truth.one(other)).status is Status.RUNNING
    shared = insertion(owner=OWNER, at_once=2, session=session, lane=new_id(), deterministic=True)
    assert (await truth.one(shared)).status is Status.QUEUED


async def test_ends_from_outside_make_room_by_the_sweep(truth: Truth) -> None:
    """LIM-3: after a cancellation the owner is found and let in again, no more than there is room."""
    session = await truth.session()
    await burst(truth, 3, 1)
    (running,) = await claim(truth, session, slots=3)
    assert await truth.upkeep.held_back() == [OWNER]
    assert (await truth.one(Admit(OWNER))).lanes == ()
    await truth.one(Cancel(running.task))
    assert (await truth.one(Admit(OWNER))).lanes == ("echo",)
    assert (await truth.one(Admit(OWNER))).lanes == ()  # it is claimable, and takes the place already
    assert len(await claim(truth, session, slots=3)) == 1


async def test_whoever_waits_can_be_cancelled_and_joined(truth: Truth) -> None:
    """R20: one held back leads those that equal it, and it can be cancelled like any other."""
    session = await truth.session()
    mine = await burst(truth, 2, 1, deterministic=True, input_hash="a")
    await truth.alter(mine[0].id, input_hash="b")
    (running,) = await claim(truth, session, slots=2)
    assert running.task == mine[0].id
    again = await burst(truth, 1, 1, deterministic=True, input_hash="b")
    assert await standing(truth, again) == ["leader"]
    assert (await truth.one(Cancel(again[0].id))).task == again[0].id


async def test_a_tier_without_number_is_held_back_by_nothing(truth: Truth) -> None:
    """LIM-3: unlimited stays unlimited, also beside tasks of the same owner that were limited when submitted."""
    session = await truth.session()
    await burst(truth, 2, 1)
    await burst(truth, 40, None, priority=Priority.LOW)
    assert len(await claim(truth, session, slots=64)) == 41


async def test_gateways_that_claim_together_keep_the_number(postgres_url: str) -> None:
    """LIM-3: exact, however many gateways claim and insert at one moment."""
    most, rounds = 3, 12
    async with truth_of(postgres_url) as one, truth_of(postgres_url) as other:
        sessions = [await truth.session() for truth in (one, other)]
        for lane in ("a", "b"):
            await burst(one, most * rounds, most, lane=lane)
        begun: list[str] = []
        for turn in range(rounds):
            fast = [
                insertion(owner=OWNER, at_once=most, lane=f"{turn}-{place}", session=session)
                for place, session in enumerate(sessions)
            ]
            wants = [
                [Want(lane, session) for _ in range(most)]
                for lane, session in zip("ab", sessions, strict=True)
            ]
            await asyncio.gather(one.do(*wants[0], fast[0]), other.do(*wants[1], fast[1]))
            runs = select(TASKS.c.id).where(TASKS.c.owner_id == OWNER, TASKS.c.status == "running")
            running = [row["id"] for row in await one.database.all(runs)]
            assert len(running) <= most
            begun += running
            await one.do(*(Finish(task, 1, Status.COMPLETED, 2, output="1") for task in running))
        assert len(begun) == len(set(begun)) >= most * (rounds - 2)
