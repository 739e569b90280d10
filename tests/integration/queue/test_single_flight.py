"""Equal tasks of one owner share one execution (R20)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from neurogrid.core.ids import new_id, now
from neurogrid.protocol.messages import Usage
from neurogrid.queue.answers import Claimed, Duplicate, Heirs, Inserted
from neurogrid.queue.ops import (
    Cancel,
    Expire,
    Finish,
    Idempotency,
    Insert,
    Replay,
    Requeue,
    SessionRef,
    Settle,
    Want,
)
from neurogrid.queue.policy import Charge, Priority, Status
from tests.support.queue import insertion
from tests.support.truth import Truth, truth_of

pytestmark = pytest.mark.asyncio

FAILURE = '{"code":"bad_input","message":"no"}'


class Twins:
    """Equal tasks of one owner, in a lane of their own."""

    def __init__(self, truth: Truth, session: SessionRef) -> None:
        self.truth = truth
        self.session = session
        self.fields: dict[str, Any] = {
            "owner": new_id(),
            "lane": new_id(),
            "input_hash": new_id(),
            "deterministic": True,
        }

    def op(self, **fields: Any) -> Insert:
        """Return one more of them."""
        return insertion(**{**self.fields, **fields})

    async def submit(self, **fields: Any) -> Insert:
        """Insert one more of them."""
        op = self.op(**fields)
        await self.truth.one(op)
        return op

    async def claim(self) -> Claimed | None:
        """Claim whatever there is to claim."""
        answer = await self.truth.one(Want(self.fields["lane"], self.session))
        assert answer is None or isinstance(answer, Claimed)
        return answer

    async def claimed(self) -> Claimed:
        """Claim what there must be to claim."""
        claimed = await self.claim()
        assert claimed is not None
        return claimed

    async def states(self, *ops: Insert) -> list[tuple[str, str | None]]:
        """Return status and leader of each."""
        rows = [await self.truth.task(op.id) for op in ops]
        return [(row["status"], row["leader_id"]) for row in rows]


@pytest_asyncio.fixture
async def twins(truth: Truth) -> Twins:
    return Twins(truth, await truth.session())


def done(claimed: Claimed, **fields: Any) -> Finish:
    usual: dict[str, Any] = {"status": Status.COMPLETED, "final_seq": 7, "output": '{"text":"ok"}'}
    return Finish(claimed.task, claimed.attempt, **{**usual, **fields})


async def test_a_second_equal_task_waits_for_the_first(twins: Twins) -> None:
    """R15, R20: it is durable, and not claimable: clients see why it waits."""
    leader = await twins.submit()
    op = twins.op()
    answer = await twins.truth.one(op)
    assert isinstance(answer, Inserted)
    assert answer.status is Status.WAITING
    row = await twins.truth.task(op.id)
    assert (row["status"], row["wait_reason"], row["leader_id"]) == ("waiting", "leader", leader.id)
    assert (await twins.truth.history(op.id)) == [("0-1", "task.queued")]
    assert (await twins.claimed()).task == leader.id
    assert await twins.claim() is None


async def test_of_equal_tasks_in_one_batch_the_first_leads(twins: Twins) -> None:
    ops = [twins.op() for _ in range(20)]
    answers = await twins.truth.do(*ops)
    assert [answer.status for answer in answers] == [Status.QUEUED] + [Status.WAITING] * 19
    assert {leader for _, leader in await twins.states(*ops[1:])} == {ops[0].id}


@pytest.mark.parametrize(
    "other",
    [{"owner": new_id()}, {"input_hash": "other"}, {"deterministic": False}],
    ids=["another owner", "other input", "not deterministic"],
)
async def test_others_run_for_themselves(twins: Twins, other: dict[str, Any]) -> None:
    await twins.submit()
    assert (await twins.truth.one(twins.op(**other))).status is Status.QUEUED


async def test_followers_finish_with_their_leader(twins: Twins) -> None:
    """Output, usage, attempt and the id of the final event are the leader's; the answer names all that ended."""
    leader, one, two = [await twins.submit() for _ in range(3)]
    claimed = await twins.claimed()
    answer = await twins.truth.one(done(claimed, usage=Usage(3, 4, 0.5)))
    assert {heir.task for heir in answer.heirs.finished} == {one.id, two.id}
    assert answer.heirs.leader is None
    mine = await twins.truth.task(leader.id)
    for op in (one, two):
        row = await twins.truth.task(op.id)
        same = ("status", "output", "attempt", "final_seq", "prompt_tokens", "completion_tokens", "node")
        assert [row[name] for name in same] == [mine[name] for name in same]
        assert row["started_at"] >= row["created_at"]
        history = await twins.truth.events(op.id)
        assert [(event.id, event.type) for event in history] == [
            ("0-1", "task.queued"), ("1-7", "task.completed"),
        ]  # fmt: skip
        assert history[-1].data["usage"]["total_tokens"] == 7


async def test_a_final_error_of_the_model_is_everybodys(twins: Twins) -> None:
    _, follower = await twins.submit(), await twins.submit()
    failed = done(await twins.claimed(), status=Status.FAILED, output=None, error=FAILURE)
    await twins.truth.one(failed)
    row = await twins.truth.task(follower.id)
    assert (row["status"], row["error"], row["dead_letter"]) == ("failed", FAILURE, False)


def heirs_of(answer: Any) -> Heirs:
    assert isinstance(answer.heirs, Heirs)
    return answer.heirs


async def end_canceled(twins: Twins, claimed: Claimed) -> Heirs:
    return heirs_of(await twins.truth.one(Cancel(claimed.task)))


async def end_late(twins: Twins, claimed: Claimed) -> Heirs:
    await twins.truth.alter(claimed.task, deadline=now() - timedelta(seconds=1))
    return heirs_of(await twins.truth.one(Expire(claimed.task)))


async def end_lost(twins: Twins, claimed: Claimed) -> Heirs:
    op = Requeue(claimed.task, claimed.attempt, Status.FAILED, Charge.LOSS, "node_lost", error=FAILURE)
    return heirs_of(await twins.truth.one(op))


async def end_dead(twins: Twins, claimed: Claimed) -> Heirs:
    op = done(
        claimed, status=Status.FAILED, output=None, error=FAILURE, charge=Charge.ERROR, dead_letter=True
    )
    return heirs_of(await twins.truth.one(op))


@pytest.mark.parametrize("end", [end_canceled, end_late, end_lost, end_dead])
async def test_the_oldest_follower_takes_over(twins: Twins, end: Any) -> None:
    """A leader that ends in a way of its own hands over; what its watchers saw so far is void."""
    leader = await twins.submit()
    one, two = await twins.submit(), await twins.submit()
    heirs = await end(twins, await twins.claimed())
    assert heirs.leader is not None
    assert (heirs.leader.task, heirs.leader.attempt, heirs.finished) == (one.id, 2, ())
    assert await twins.states(one, two) == [("queued", None), ("waiting", one.id)]
    assert (await twins.truth.history(one.id))[-1] == ("2-0", "task.retrying")
    assert (await twins.states(leader))[0][0] in {"failed", "canceled"}
    await twins.truth.one(done(await twins.claimed()))
    assert await twins.states(one, two) == [("completed", None), ("completed", one.id)]
    assert (await twins.truth.history(two.id))[-1] == ("2-7", "task.completed")


async def test_a_second_hand_over_goes_on_from_there(twins: Twins) -> None:
    """Attempts rise from leader to leader, so that no watcher sees an id twice."""
    await twins.submit()
    one, two = await twins.submit(), await twins.submit()
    await end_canceled(twins, await twins.claimed())
    await end_canceled(twins, await twins.claimed())
    assert [(await twins.truth.task(op.id))["attempt"] for op in (one, two)] == [3, 3]
    assert (await twins.states(two)) == [("queued", None)]


async def test_a_retry_keeps_the_followers(twins: Twins) -> None:
    leader, follower = await twins.submit(), await twins.submit()
    claimed = await twins.claimed()
    again = Requeue(claimed.task, 1, Status.WAITING, Charge.ERROR, "error", delay=60.0, error=FAILURE)
    answer = await twins.truth.one(again)
    assert answer.heirs == Heirs()
    assert await twins.states(follower) == [("waiting", leader.id)]
    assert (await twins.truth.one(twins.op())).status is Status.WAITING


async def test_a_follower_ends_alone(twins: Twins) -> None:
    """Cancelling a follower stops nobody's work; its end comes after all it can have seen of its leader."""
    leader, follower = await twins.submit(), await twins.submit()
    claimed = await twins.claimed()
    await twins.truth.one(Requeue(claimed.task, 1, Status.QUEUED, Charge.NONE, "handed_back"))
    canceled = await twins.truth.one(Cancel(follower.id))
    assert (canceled.attempt, canceled.session, canceled.heirs) == (3, None, Heirs())
    assert (await twins.states(leader))[0] == ("queued", None)


async def test_nobody_follows_what_is_over(twins: Twins) -> None:
    await twins.submit()
    await twins.truth.one(done(await twins.claimed()))
    assert (await twins.truth.one(twins.op())).status is Status.QUEUED


async def test_a_scheduled_task_is_no_leader(twins: Twins) -> None:
    """Its time may be far away."""
    later = await twins.submit()
    await twins.truth.alter(later.id, status="waiting", wait_reason="schedule")
    assert (await twins.truth.one(twins.op())).status is Status.QUEUED


async def test_a_better_placed_follower_lifts_its_leader(twins: Twins) -> None:
    """R20: whoever is entitled to be served earlier is."""
    leader = await twins.submit(priority=Priority.LOW.value)
    await twins.submit(priority=Priority.HIGH.value)
    assert (await twins.truth.task(leader.id))["class"] == Priority.HIGH
    await twins.submit(priority=Priority.NORMAL.value)
    assert (await twins.truth.task(leader.id))["class"] == Priority.HIGH


async def test_followers_cost_their_owner_nothing(twins: Twins) -> None:
    """R17: they take no place in the order of service."""
    leader = await twins.submit(cost=10.0)
    for _ in range(5):
        await twins.submit(cost=10.0)
    next_one = await twins.submit(cost=10.0, input_hash="other")
    first, then = [(await twins.truth.task(op.id))["rank"] for op in (leader, next_one)]
    assert then == pytest.approx(first + 10.0)


async def test_the_fast_path_leads_too(twins: Twins) -> None:
    first, second = twins.op(session=twins.session), twins.op(session=twins.session)
    answers = await twins.truth.do(first, second)
    assert [answer.status for answer in answers] == [Status.RUNNING, Status.WAITING]


async def test_the_key_comes_before_the_leader(twins: Twins) -> None:
    """R19: a repeated key answers with its task, and makes no follower; a fresh one does."""
    first = await twins.submit(once=Idempotency("key", "body"))
    again, other = twins.op(once=Idempotency("key", "body")), twins.op(once=Idempotency("fresh", "body"))
    answers = await twins.truth.do(again, other)
    assert answers[0] == Duplicate(first.id, "body")
    assert answers[1].status is Status.WAITING


async def test_a_repeated_batch_changes_nothing(postgres: Truth) -> None:
    """R8: a batch whose outcome was unknown is answered as it was the first time."""
    twins = Twins(postgres, await postgres.session())
    ops = [twins.op() for _ in range(3)]
    for repeat in (False, True):
        answers = await postgres.do(*ops, repeat=repeat)
        assert [answer.status for answer in answers] == [Status.QUEUED, Status.WAITING, Status.WAITING]
    op = done(await twins.claimed())
    for repeat in (False, True):
        assert (await postgres.one(op, repeat=repeat)).status is Status.COMPLETED
    assert [status for status, _ in await twins.states(*ops)] == ["completed"] * 3


async def test_the_sweep_mends_followers_left_behind(twins: Twins) -> None:
    """R20: a crash between the end of a leader and that of its followers."""
    leader, one, two = [await twins.submit() for _ in range(3)]
    await twins.truth.one(done(await twins.claimed()))
    for op in (one, two):
        await twins.truth.alter(op.id, status="waiting", leader_id=leader.id, finished_at=None)
        await twins.truth.forget_events(op.id, after=0)
    assert await twins.truth.upkeep.unsettled() == [leader.id]
    heirs = await twins.truth.one(Settle(leader.id))
    assert {heir.task for heir in heirs.finished} == {one.id, two.id}
    assert await twins.truth.upkeep.unsettled() == []


async def test_a_replayed_follower_runs_for_itself(twins: Twins) -> None:
    _, follower = await twins.submit(), await twins.submit()
    await twins.truth.one(done(await twins.claimed(), status=Status.FAILED, output=None, error=FAILURE))
    await twins.truth.one(Replay(follower.id, follower.owner))
    assert await twins.states(follower) == [("queued", None)]
    assert (await twins.claimed()).task == follower.id


async def test_two_gateways_make_one_leader(postgres_url: str) -> None:
    """Equal tasks that two gateways write at one moment take turns: one execution, whoever was first."""
    async with truth_of(postgres_url) as here, truth_of(postgres_url) as there:
        for _ in range(10):
            twins = Twins(here, await here.session())
            one, two = [twins.op() for _ in range(8)], [twins.op() for _ in range(8)]
            await asyncio.gather(here.do(*one), there.do(*two))
            states = await twins.states(*one, *two)
            assert [status for status, _ in states].count("queued") == 1
            assert len({leader for _, leader in states if leader}) == 1


async def test_whoever_joins_while_the_leader_ends_is_not_left_behind(postgres_url: str) -> None:
    """R20 [proved]: a follower is finished with its leader, or leads itself; never does one wait for nobody."""
    async with truth_of(postgres_url) as here, truth_of(postgres_url) as there:
        twins = Twins(here, await here.session())
        for round_ in range(20):
            twins.fields["input_hash"] = f"round {round_}"
            await twins.submit()
            claimed = await twins.claimed()
            joining = [twins.op() for _ in range(5)]
            await asyncio.gather(here.do(done(claimed)), *(there.one(op) for op in joining[:1]))
            await there.do(*joining[1:])
            assert await here.upkeep.unsettled() == []
            while (left := await twins.claim()) is not None:
                await here.one(done(left))
            assert {status for status, _ in await twins.states(*joining)} == {"completed"}
