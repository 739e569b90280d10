"""The life of tasks against a simple model: whatever is asked of the queue, in whatever order (R1, R3, R4)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    invariant,
    rule,
)

from neurogrid.core.ids import new_id
from neurogrid.queue.ops import Cancel, Evict, Finish, Guard, Replay, Requeue, SessionRef, Want
from neurogrid.queue.policy import FINAL, NEXT, Charge, Status
from tests.support.machines import AsyncMachine, run_machine
from tests.support.queue import insertion
from tests.support.truth import Truth, truth_of

STALE = st.sampled_from([0, 0, 0, -1, 1])
"""Mostly the present attempt, sometimes one before or after it."""


@dataclass
class Model:
    """What a task should be."""

    owner: str
    status: Status = Status.QUEUED
    attempt: int = 1
    errors: int = 0
    losses: int = 0
    session: str | None = None
    finals: int = 0

    def move(self, to: Status, *, attempt: int = 0) -> None:
        """Go on to another state; only where the table of moves allows it."""
        assert to in NEXT[self.status]
        self.status, self.attempt = to, self.attempt + attempt
        if to is not Status.RUNNING:
            self.session = None
        self.finals += to in FINAL


class Life(AsyncMachine):
    """Asks the queue for everything it can do, and keeps the model beside it."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.truth: Truth = self.run(self.stack.enter_async_context(truth_of(self.url)))
        self.lane = new_id()
        self.tasks: dict[str, Model] = {}
        self.sessions: dict[str, SessionRef] = {}
        self.expired: set[str] = set()

    ids = Bundle("ids")
    nodes = Bundle("nodes")

    @rule(target=nodes)
    def attach(self) -> str:
        session = self.run(self.truth.session())
        self.sessions[session.id] = session
        return session.id

    @rule(target=ids)
    def insert(self) -> str:
        op = insertion(owner=new_id(), lane=self.lane)
        assert self.run(self.truth.one(op)).status is Status.QUEUED
        self.tasks[op.id] = Model(op.owner)
        return op.id

    @rule(node=nodes)
    def claim(self, node: str) -> None:
        claimed = self.run(self.truth.one(Want(self.lane, self.sessions[node])))
        queued = [id for id, task in self.tasks.items() if task.status is Status.QUEUED]
        alive = node in self.sessions and node not in self.expired
        assert (claimed is not None) == (alive and bool(queued))
        if claimed is not None:
            task = self.tasks[claimed.task]
            assert (task.status, task.attempt) == (Status.QUEUED, claimed.attempt)
            task.move(Status.RUNNING)
            task.session = node

    @rule(id=ids, off=STALE, to=st.sampled_from([Status.COMPLETED, Status.FAILED]))
    def finish(self, id: str, off: int, to: Status) -> None:
        task = self.tasks[id]
        answer = self.run(self.truth.one(Finish(id, task.attempt + off, to, 5, output='"x"')))
        assert (answer is not None) == (task.status is Status.RUNNING and off == 0)
        if answer is not None:
            task.move(to)

    @rule(
        id=ids,
        off=STALE,
        to=st.sampled_from([Status.QUEUED, Status.WAITING, Status.FAILED]),
        charge=st.sampled_from(list(Charge)),
        guard=st.sampled_from([None, *Guard]),
    )
    def requeue(self, id: str, off: int, to: Status, charge: Charge, guard: Guard | None) -> None:
        task = self.tasks[id]
        session = self.sessions.get(task.session or "", SessionRef(new_id(), 1, "node"))
        op = Requeue(id, task.attempt + off, to, charge, "test", delay=0.0, guard=guard, session=session)
        answer = self.run(self.truth.one(op))
        allowed = {
            None: True,
            Guard.HELD: task.session is not None,
            Guard.EXPIRED: task.session in self.expired,
            Guard.ORPHANED: False,
        }[guard]
        assert (answer is not None) == (task.status is Status.RUNNING and off == 0 and allowed)
        if answer is not None:
            task.move(to, attempt=1)
            task.errors += charge is Charge.ERROR
            task.losses += charge is Charge.LOSS
            assert answer.attempt == task.attempt

    @rule()
    def promote(self) -> None:
        self.run(self.truth.upkeep.promote())
        for task in self.tasks.values():
            if task.status is Status.WAITING:
                task.move(Status.QUEUED)

    @rule(id=ids, mine=st.booleans())
    def cancel(self, id: str, *, mine: bool) -> None:
        task = self.tasks[id]
        answer = self.run(self.truth.one(Cancel(id, task.owner if mine else new_id())))
        assert (answer is not None) == (mine and task.status not in FINAL)
        if answer is not None:
            assert answer.session == task.session
            task.move(Status.CANCELED, attempt=1)

    @rule(id=ids)
    def replay(self, id: str) -> None:
        task = self.tasks[id]
        answer = self.run(self.truth.one(Replay(id, task.owner)))
        assert (answer is not None) == (task.status in {Status.FAILED, Status.CANCELED})
        if answer is not None:
            task.move(Status.QUEUED, attempt=1)
            task.errors = task.losses = 0

    @rule(node=nodes)
    def expire(self, node: str) -> None:
        self.run(self.truth.expire(self.sessions[node]))
        self.expired.add(node)

    @rule(node=nodes)
    def evict(self, node: str) -> None:
        gone = self.run(self.truth.one(Evict(self.sessions[node])))
        holds = any(task.session == node for task in self.tasks.values())
        if gone:
            assert node in self.expired
            assert not holds

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        """State, fence and charges are what they should be; and each end is an event, once."""
        for id, task in self.tasks.items():
            row = self.run(self.truth.task(id))
            assert (row["status"], row["attempt"]) == (task.status, task.attempt)
            assert (row["errors"], row["losses"], row["session_id"]) == (
                task.errors,
                task.losses,
                task.session,
            )
            history = self.run(self.truth.history(id))
            assert sum(kind in ENDS for _, kind in history) == task.finals
            assert len({event for event, _ in history}) == len(history)


ENDS = {"task.completed", "task.failed", "task.canceled"}


@pytest.mark.timeout(240)
def test_any_life_follows_the_model(database_url: str) -> None:
    """R1, R3, R4: no order of requests, stale ones among them, brings a task where the model does not have it."""
    run_machine(Life, examples=8, steps=25, url=database_url)
