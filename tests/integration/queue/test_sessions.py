"""Node sessions: leases, generations, and what becomes of the tasks of those who are gone."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from neurogrid.core.ids import new_id, now
from neurogrid.queue.ops import Evict, Guard, Renew, SessionRef, Want
from neurogrid.queue.policy import Charge, RetryPolicy, Status
from neurogrid.queue.upkeep import LaneInfo, Upkeep
from neurogrid.queue.views import QueueViews
from tests.support.truth import LEASE, Truth

pytestmark = pytest.mark.asyncio


async def lease_of(truth: Truth, session: SessionRef) -> float:
    """Return how many seconds the lease of ``session`` still lasts."""
    until = (await truth.sessions())[session.id]["lease_until"]
    return float((until - now()).total_seconds())


async def test_a_session_has_a_lease(truth: Truth) -> None:
    """R2: the first attach makes a session of generation 1 with a lease, whatever the node claims to have had."""
    node = new_id()
    first = await truth.upkeep.attach(node, "node", None, embedded=False)
    assert (first.gen, first.node) == (1, "node")
    assert LEASE - 30 < await lease_of(truth, first) <= LEASE + 1
    lost = await truth.upkeep.attach(node, "node", new_id(), embedded=False)
    assert lost.id != first.id
    assert lost.gen == 1


async def test_attaching_anew_goes_on_with_the_session(truth: Truth) -> None:
    """R3: to any gateway, a node comes back with its session, one generation later and with a fresh lease."""
    node = new_id()
    first = await truth.upkeep.attach(node, "node", None, embedded=False)
    await truth.expire(first)
    elsewhere = Upkeep(truth.database, new_id(), LEASE, RetryPolicy())
    second = await elsewhere.attach(node, "node", first.id, embedded=False)
    assert second == replace(first, gen=2)
    assert await lease_of(truth, first) > LEASE - 30
    assert (await truth.sessions())[first.id]["gateway"] != truth.upkeep._gateway


async def test_a_session_belongs_to_its_node(truth: Truth) -> None:
    """R2: another node does not get hold of a session by naming it."""
    mine = await truth.upkeep.attach(new_id(), "mine", None, embedded=False)
    other = await truth.upkeep.attach(new_id(), "other", mine.id, embedded=False)
    assert other.id != mine.id
    assert (await truth.sessions())[mine.id]["gen"] == 1


async def test_renewal_needs_the_current_generation(truth: Truth) -> None:
    """R2, R3: who holds the session prolongs it; an old gateway, or one of a lost session, learns that it is lost."""
    node = new_id()
    old = await truth.upkeep.attach(node, "node", None, embedded=False)
    current = await truth.upkeep.attach(node, "node", old.id, embedded=False)
    gone = await truth.session("gone")
    await truth.forget(gone)
    await truth.expire(current)
    answers = await truth.do(Renew(old, 100), Renew(gone, 100), Renew(current, 100), Renew(current, 100))
    assert answers == [None, None, True, True]
    assert await lease_of(truth, current) > 60


async def test_the_sweeper_finds_what_is_lost(truth: Truth) -> None:
    """R4: tasks of an expired session are requeued with a loss, then the session goes; others are let alone."""
    lost, alive = await truth.session("lost"), await truth.session("alive")
    task, safe = await truth.running(lost), await truth.running(alive)
    assert await truth.upkeep.expired() == ([], [])
    await truth.expire(lost)
    moves, sessions = await truth.upkeep.expired()
    assert [(move.task, move.attempt, move.charge, move.guard) for move in moves] == [
        (task.task, 1, Charge.LOSS, Guard.EXPIRED)
    ]
    assert [session.id for session in sessions] == [lost.id]
    assert await truth.one(Evict(sessions[0])) is None  # it still holds a task
    (requeued,) = await truth.do(*moves)
    assert requeued.attempt == 2
    assert await truth.one(Evict(sessions[0])) is True
    assert set(await truth.sessions()) == {alive.id}
    assert (await truth.task(safe.task))["status"] == "running"
    assert (await truth.events(task.task))[-1].data == {"status": "queued", "reason": "node_lost"}


async def test_who_came_back_in_time_is_not_evicted(truth: Truth) -> None:
    """R4: between the sweeper's look and its move a node may renew or attach anew; then nothing happens to it."""
    node = new_id()
    renewed = await truth.session()
    attached = await truth.upkeep.attach(node, "node", None, embedded=False)
    tasks = [await truth.running(session) for session in (renewed, attached)]
    await truth.expire(renewed, attached)
    moves, sessions = await truth.upkeep.expired()
    assert len(moves) == len(sessions) == 2
    assert await truth.one(Renew(renewed, 60)) is True
    await truth.upkeep.attach(node, "node", attached.id, embedded=False)
    assert await truth.do(*moves) == [None, None]
    assert await truth.do(*(Evict(session) for session in sessions)) == [None, None]
    for task in tasks:
        assert (await truth.task(task.task))["attempt"] == 1


async def test_a_task_that_kills_its_nodes_ends(truth: Truth) -> None:
    """R1: the fifth session lost under a task makes it a dead letter with a reason."""
    session = await truth.session()
    task = await truth.running(session)
    for losses in range(1, 6):
        await truth.expire(session)
        (moves, _) = await truth.upkeep.expired()
        (answer,) = await truth.do(*moves)
        assert answer.status is (Status.FAILED if losses == 5 else Status.QUEUED)
        if losses < 5:
            session = await truth.session()
            assert (await truth.one(Want(task.lane, session))).losses == losses
    row = await truth.task(task.task)
    assert (row["status"], row["dead_letter"], row["losses"], row["errors"]) == ("failed", True, 5, 0)
    assert "nodes_lost" in row["error"]


async def test_orphans_are_found(truth: Truth) -> None:
    """R4: a running task whose session is gone, for whatever reason, comes back into the queue."""
    session, alive = await truth.session(), await truth.session()
    orphan = await truth.running(session)
    await truth.running(alive)
    assert await truth.upkeep.orphans() == []
    await truth.forget(session)
    (move,) = await truth.upkeep.orphans()
    assert (move.task, move.guard) == (orphan.task, Guard.ORPHANED)
    assert (await truth.one(move)).attempt == 2


async def test_the_embedded_node_of_a_dead_process_is_expired(truth: Truth) -> None:
    """A restart takes back at once what the embedded node ran; the leases of remote nodes stay."""
    embedded = await truth.upkeep.attach(new_id(), "embedded", None, embedded=True)
    remote = await truth.session("remote")
    task = await truth.running(embedded)
    await truth.running(remote)
    await truth.upkeep.expire_embedded()
    moves, sessions = await truth.upkeep.expired(embedded=True)
    assert [move.task for move in moves] == [task.task]
    assert [session.id for session in sessions] == [embedded.id]


async def test_held_is_what_sessions_run(truth: Truth) -> None:
    """R7: a gateway can compare its memory with what its sessions run."""
    session, other = await truth.session(), await truth.session()
    task = await truth.running(session, max_attempts=9)
    await truth.running(other)
    assert await truth.upkeep.held([]) == []
    (held,) = await truth.upkeep.held([session.id])
    assert (held.task, held.attempt, held.session) == (task.task, 1, session.id)
    assert (held.lane, held.model, held.owner, held.charges.max_attempts) == (
        task.lane,
        "echo",
        task.owner,
        9,
    )
    assert await truth.upkeep.find(task.task) == held
    assert await truth.upkeep.find((await truth.queued()).id) is None


async def test_lanes_are_known_to_all(truth: Truth) -> None:
    """R15: what a lane requires is written once, and read by every gateway while something is queued in it."""
    lane = LaneInfo("m#1", "m", '{"gpu":"yes"}')
    await truth.upkeep.know_lane(lane)
    assert await truth.upkeep.lanes() == []
    await truth.queued(lane=lane.lane)
    assert await truth.upkeep.lanes() == [lane]


async def test_views_count_what_lives(truth: Truth) -> None:
    """Features above see how deep the queue is and how loaded the connected nodes are."""
    node = new_id()
    busy = await truth.upkeep.attach(node, "busy", None, embedded=False)
    await truth.session("idle")
    expired = await truth.session("expired")
    await truth.running(busy)
    await truth.running(busy)
    await truth.running(expired)
    await truth.queued()
    await truth.expire(expired)
    views = QueueViews(truth.database)
    assert await views.depth() == {"queued": 1, "waiting": 0, "running": 3}
    load = await views.load_by_node()
    assert load[node] == 2
    assert sorted(load.values()) == [0, 2]
