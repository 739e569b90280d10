"""The life of equal tasks against a simple model: whatever is asked of the queue, in whatever order (R20)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, invariant, rule

from neurogrid.core.ids import new_id
from neurogrid.queue.answers import Claimed, Heirs
from neurogrid.queue.ops import Cancel, Finish, Replay, Requeue, Settle, Want
from neurogrid.queue.policy import FINAL, Charge, Status
from tests.support.machines import AsyncMachine, run_machine
from tests.support.queue import insertion
from tests.support.truth import Truth, truth_of

WORK = st.sampled_from(["a", "b"])


@dataclass
class Model:
    """What a task should be; ``leader`` is the task it waits for."""

    work: str
    status: Status = Status.QUEUED
    leader: str | None = None
    output: str | None = None

    @property
    def leads(self) -> bool:
        return self.status not in FINAL and self.leader is None


class SharedLives(AsyncMachine):
    """Several tasks of one owner, of two kinds of work."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.truth: Truth = self.run(self.stack.enter_async_context(truth_of(self.url)))
        self.owner, self.lane = new_id(), new_id()
        self.session = self.run(self.truth.session())
        self.tasks: dict[str, Model] = {}
        self.claims: dict[str, Claimed] = {}

    ids = Bundle("ids")

    def followers(self, leader: str) -> list[str]:
        return [
            id for id, task in self.tasks.items() if task.leader == leader and task.status is Status.WAITING
        ]

    @rule(target=ids, work=WORK)
    def insert(self, work: str) -> str:
        op = insertion(owner=self.owner, lane=self.lane, input_hash=work, deterministic=True)
        leader = next((id for id, task in self.tasks.items() if task.work == work and task.leads), None)
        status = self.run(self.truth.one(op)).status
        assert status is (Status.WAITING if leader else Status.QUEUED)
        self.tasks[op.id] = Model(work, status, leader)
        return op.id

    @rule()
    def claim(self) -> None:
        claimed = self.run(self.truth.one(Want(self.lane, self.session)))
        queued = [id for id, task in self.tasks.items() if task.status is Status.QUEUED]
        assert (claimed is not None) == bool(queued)
        if claimed is not None:
            assert claimed.task in queued
            self.tasks[claimed.task].status = Status.RUNNING
            self.claims[claimed.task] = claimed

    @rule(id=ids, dead=st.booleans(), failed=st.booleans())
    def finish(self, id: str, *, dead: bool, failed: bool) -> None:
        if self.tasks[id].status is not Status.RUNNING:
            return
        status = Status.FAILED if failed else Status.COMPLETED
        output = None if failed else f'"{new_id()}"'
        op = Finish(id, self.claims[id].attempt, status, 5, output=output, dead_letter=dead and failed)
        answer = self.run(self.truth.one(op))
        self.tasks[id].status, self.tasks[id].output = status, output
        if dead and failed:
            self.hand_over(id, answer.heirs)
            return
        heirs = self.followers(id)
        assert sorted(heir.task for heir in answer.heirs.finished) == sorted(heirs)
        for heir in heirs:
            self.tasks[heir].status, self.tasks[heir].output = status, output

    @rule(id=ids, lost=st.booleans())
    def requeue(self, id: str, *, lost: bool) -> None:
        if self.tasks[id].status is not Status.RUNNING:
            return
        to = Status.FAILED if lost else Status.QUEUED
        op = Requeue(id, self.claims[id].attempt, to, Charge.LOSS, "test", error="{}" if lost else None)
        answer = self.run(self.truth.one(op))
        self.tasks[id].status = to
        if lost:
            self.hand_over(id, answer.heirs)

    @rule(id=ids)
    def cancel(self, id: str) -> None:
        if self.tasks[id].status in FINAL:
            return
        leads = self.tasks[id].leads
        answer = self.run(self.truth.one(Cancel(id)))
        self.tasks[id].status = Status.CANCELED
        if leads:
            self.hand_over(id, answer.heirs)

    @rule(id=ids)
    def replay(self, id: str) -> None:
        answer = self.run(self.truth.one(Replay(id, self.owner)))
        assert (answer is not None) == (self.tasks[id].status in {Status.FAILED, Status.CANCELED})
        if answer is not None:
            self.tasks[id].status, self.tasks[id].leader, self.tasks[id].output = Status.QUEUED, None, None

    @rule(id=ids)
    def settle(self, id: str) -> None:
        """Nothing is left to settle, ever; asking again does nothing."""
        assert self.run(self.truth.one(Settle(id))) == Heirs()

    def hand_over(self, leader: str, heirs: Heirs) -> None:
        followers = self.followers(leader)
        assert heirs.finished == ()
        assert (heirs.leader.task if heirs.leader else None) == (min(followers) if followers else None)
        for follower in followers:
            task = self.tasks[follower]
            if follower == min(followers):
                task.status, task.leader = Status.QUEUED, None
            else:
                task.leader = min(followers)

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        """Whoever waits, waits for a live task that itself waits for nobody; results are shared; ids rise."""
        for id, task in self.tasks.items():
            row = self.run(self.truth.task(id))
            assert (row["status"], row["output"]) == (task.status, task.output)
            if task.status is Status.WAITING:
                assert row["leader_id"] == task.leader
                assert self.tasks[task.leader or ""].leads
            history = self.run(self.truth.history(id))
            assert len({event for event, _ in history}) == len(history)

    @invariant()
    def nobody_is_left_behind(self) -> None:
        assert self.run(self.truth.upkeep.unsettled()) == []


@pytest.mark.timeout(240)
def test_shared_lives_follow_the_model(database_url: str) -> None:
    """R20: no order of requests leaves a follower without a live leader, or a result unshared."""
    run_machine(SharedLives, examples=8, steps=30, url=database_url)
