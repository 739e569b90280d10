"""Into the queue and out of it."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from sqlalchemy import delete

from neurogrid.core.ids import new_id
from neurogrid.queue.answers import Claimed, Inserted
from neurogrid.queue.ops import Renew, Want
from neurogrid.queue.policy import Priority, Status
from tests.support.queue import insertion
from tests.support.truth import EVENTS, Truth, truth_of

pytestmark = pytest.mark.asyncio


async def test_a_task_is_queued_with_its_event(truth: Truth) -> None:
    """R21: an insert makes the row and the event `0-1`, in one transaction."""
    op = insertion(metadata='{"a":"é"}', requires='{"gpu":"yes"}', timeout_s=3.5, priority=Priority.HIGH)
    answer = await truth.one(op)
    assert answer == Inserted(op.id, Status.QUEUED, answer.created_at, rank=1.0)
    row = await truth.task(op.id)
    assert (row["status"], row["attempt"], row["errors"], row["losses"]) == ("queued", 1, 0, 0)
    assert (row["metadata"], row["requires"], row["timeout_s"]) == (op.metadata, op.requires, op.timeout_s)
    assert (row["class"], row["session_id"], row["started_at"]) == (0, None, None)
    (event,) = await truth.events(op.id)
    assert (event.id, event.type, event.owner) == ("0-1", "task.queued", op.owner)
    assert event.data == {"status": "queued", "model": "echo", "priority": "high"}


async def test_the_fast_path_runs_at_once(truth: Truth) -> None:
    """R17: with a free slot and an empty lane the row is inserted running, with the events `0-1` and `1-1`."""
    session = await truth.session('no"de')
    op = insertion(session=session)
    assert (await truth.one(op)).status is Status.RUNNING
    row = await truth.task(op.id)
    assert (row["status"], row["session_id"], row["node"]) == ("running", session.id, 'no"de')
    assert row["started_at"] == row["created_at"]
    queued, running = await truth.events(op.id)
    assert (queued.id, running.id, running.type) == ("0-1", "1-1", "task.running")
    assert running.data == {"status": "running", "attempt": 1, "node": 'no"de'}


async def test_the_fast_path_overtakes_nobody(truth: Truth) -> None:
    """R17: where a task of the lane waits, the new one queues behind it; other lanes are not its concern."""
    session = await truth.session()
    await truth.queued(lane="busy")
    behind, elsewhere = insertion(lane="busy", session=session), insertion(lane="idle", session=session)
    answers = await truth.do(behind, elsewhere)
    assert [answer.status for answer in answers] == [Status.QUEUED, Status.RUNNING]
    assert (await truth.task(behind.id))["session_id"] is None
    assert await truth.history(behind.id) == [("0-1", "task.queued")]


@pytest.mark.parametrize("trouble", ["stale", "expired", "gone"])
async def test_the_fast_path_needs_a_current_session(truth: Truth, trouble: str) -> None:
    """R3, R17: a session attached anew, expired or gone gets nothing; the task is queued instead."""
    session = await truth.session()
    if trouble == "stale":
        session = replace(session, gen=session.gen - 1)
    elif trouble == "expired":
        await truth.expire(session)
    else:
        await truth.forget(session)
    op = insertion(session=session)
    assert (await truth.one(op)).status is Status.QUEUED
    assert await truth.one(Want(op.lane, session)) is None
    assert (await truth.task(op.id))["status"] == "queued"


async def test_order_of_service(truth: Truth) -> None:
    """R15: claims take the highest class first, within it the lowest rank, then the lowest id."""
    low = await truth.queued(priority=Priority.LOW)
    first = await truth.queued()
    second = await truth.queued()
    high = await truth.queued(priority=Priority.HIGH)
    tied = sorted([await truth.queued(), await truth.queued()], key=lambda op: op.id)
    for op in tied:
        await truth.alter(op.id, rank=1e12)
    session = await truth.session()
    claimed = [await truth.one(Want("echo", session)) for _ in range(6)]
    assert [one.task for one in claimed] == [op.id for op in (high, first, second, *tied, low)]
    assert await truth.one(Want("echo", session)) is None


async def test_a_claim_tells_all_the_node_needs(truth: Truth) -> None:
    """R1, R21: a claim names task, fence, charges and work, raises no attempt, and writes `<n>-1`."""
    session = await truth.session()
    op = await truth.queued(input='{"a":1}', parameters='{"b":2}', timeout_s=9.0, max_attempts=7)
    answer = await truth.one(Want("echo", session))
    assert isinstance(answer, Claimed)
    assert (answer.task, answer.owner, answer.lane, answer.model) == (op.id, op.owner, "echo", "echo")
    assert (answer.attempt, answer.errors, answer.losses, answer.max_attempts) == (1, 0, 0, 7)
    assert (answer.input, answer.parameters, answer.timeout_s) == (op.input, op.parameters, 9.0)
    assert answer.session == session.id
    row = await truth.task(op.id)
    assert (row["status"], row["session_id"], row["node"]) == ("running", session.id, "node")
    assert await truth.history(op.id) == [("0-1", "task.queued"), ("1-1", "task.running")]
    assert (await truth.events(op.id))[1].data == {"status": "running", "attempt": 1, "node": "node"}


async def test_one_batch_claims_for_all_lanes_and_sessions(truth: Truth) -> None:
    """R15: one batch serves many lanes and nodes; each slot gets at most one task, each task one slot."""
    sessions = [await truth.session(f"node-{i}") for i in range(3)]
    tasks = {lane: {(await truth.queued(lane=lane)).id for _ in range(4)} for lane in ("a", "b")}
    wants = [Want(lane, session) for lane in ("a", "b", "empty") for session in sessions for _ in range(2)]
    answers = dict(zip(wants, await truth.do(*wants), strict=True))
    for lane in ("a", "b"):
        found = [answer for want, answer in answers.items() if want.lane == lane and answer]
        assert {answer.task for answer in found} == tasks[lane]
    for want, answer in answers.items():
        if answer is not None:
            assert (answer.session, answer.lane) == (want.session.id, want.lane)
            assert (await truth.task(answer.task))["session_id"] == want.session.id
    assert sum(answer is not None for answer in answers.values()) == 8


async def test_two_claimers_never_get_the_same_task(database_url: str) -> None:
    """R15: gateways that claim at once share the queue, and nothing is claimed twice or left behind."""
    async with truth_of(database_url) as one, truth_of(database_url) as other:
        await one.do(*(insertion() for _ in range(120)))
        claimed: list[str] = []

        async def claim(truth: Truth) -> None:
            session = await truth.session()
            while found := [a for a in await truth.do(*(Want("echo", session) for _ in range(7))) if a]:
                claimed.extend(answer.task for answer in found)

        await asyncio.gather(claim(one), claim(other))
        if len(claimed) < 120:  # SKIP LOCKED may have passed by what the other was about to leave
            await claim(one)
        assert len(claimed) == len(set(claimed)) == 120


async def test_a_stale_want_does_not_take_the_slot_of_a_good_one(truth: Truth) -> None:
    """R3: in one batch a session that moved on gets nothing, and takes nothing away from the others."""
    good = await truth.session()
    stale = replace(await truth.session(), gen=7)
    task = await truth.queued()
    answers = await truth.do(Want("echo", stale), Want("echo", good))
    assert answers[0] is None
    assert answers[1].task == task.id


async def test_events_are_numbered_in_the_order_of_commits(truth: Truth) -> None:
    """R25: later transactions have higher numbers; rows of one transaction share theirs."""
    both = [insertion(), insertion()]
    await truth.do(*both)
    later = await truth.queued()
    numbers = [(await truth.events(op.id))[0].xid for op in (*both, later)]
    assert numbers[0] == numbers[1] < numbers[2]


async def test_numbers_rise_across_restarts_and_deletions(database_url: str) -> None:
    """R25: a cursor stays good when the newest events were deleted and the gateway was restarted."""
    async with truth_of(database_url) as truth:
        op = await truth.queued()
        (event,) = await truth.events(op.id)
        await truth.change(delete(EVENTS))
    async with truth_of(database_url) as truth:
        later = await truth.queued()
        assert (await truth.events(later.id))[0].xid > event.xid


async def test_renewals_come_with_all_else(truth: Truth) -> None:
    """R12: one transaction renews, claims and inserts; the insert does not see its own lane as busy before."""
    session = await truth.session()
    waiting = await truth.queued(lane="one")
    fresh = insertion(lane="one", session=session)
    renewed, claimed, inserted = await truth.do(Renew(session, 60), Want("one", session), fresh)
    assert renewed is True
    assert claimed.task == waiting.id
    assert inserted.status is Status.RUNNING


async def test_a_large_batch_is_one_transaction(truth: Truth) -> None:
    """R12: 512 rows go in at once and keep their order of service."""
    ops = [insertion(lane="bulk", owner=new_id()) for _ in range(512)]
    answers = await truth.do(*ops)
    assert [answer.task for answer in answers] == [op.id for op in ops]
    session = await truth.session()
    claimed = [answer.task for answer in await truth.do(*(Want("bulk", session) for _ in range(512)))]
    assert sorted(claimed) == sorted(op.id for op in ops)
