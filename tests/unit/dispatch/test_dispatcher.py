"""The dispatcher's loop: it survives whatever a claim meets, and every slot it held is free again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from neurogrid.core.errors import Unavailable
from neurogrid.core.ids import new_id, now
from neurogrid.core.settings import GridSettings, LiveSettings
from neurogrid.dispatch.connection import NodeConnection
from neurogrid.dispatch.service import Dispatcher
from neurogrid.events.memory import MemoryBus
from neurogrid.events.states import StateEvents
from neurogrid.protocol.frames import decode_to_node
from neurogrid.protocol.link import Link, in_process_links
from neurogrid.protocol.messages import Assign, Hello, ModelSpec
from neurogrid.queue.answers import Claimed, Inserted
from neurogrid.queue.journal import Journal, RowRefused
from neurogrid.queue.ops import Op, Requeue, Want
from neurogrid.queue.policy import Status
from neurogrid.queue.upkeep import Upkeep
from tests.support.queue import insertion, some_session
from tests.support.until import until


class Answers:
    """A journal that does what its test says."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.answer: Callable[[Op], Any] = lambda _: None

    async def execute(self, op: Op, *, patient: bool = False) -> Any:
        self.ops.append(op)
        await asyncio.sleep(0)
        answer = self.answer(op)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def execute_all(self, ops: Sequence[Op], *, patient: bool = False) -> list[Any]:
        return await asyncio.gather(*(self.execute(op) for op in ops), return_exceptions=True)


def claimed(want: Want, task: str) -> Claimed:
    return Claimed(
        task, new_id(), want.lane, "m", 1, 0, 0, 3, '"hi"', "{}", None, None, now(), want.session.id
    )


@asynccontextmanager
async def dispatching(journal: Answers) -> AsyncIterator[tuple[Dispatcher, NodeConnection, Link]]:
    """Run a dispatcher with one node of two slots, whose end of the link is given."""
    bus = MemoryBus(LiveSettings())
    dispatcher = Dispatcher(
        cast("Journal", journal), cast("Upkeep", None), bus, StateEvents(bus), GridSettings()
    )
    ours, theirs = in_process_links()
    hello = Hello(name="node", version="1", models=[ModelSpec("m", "1", "test", slots=2)], slots=2)
    connection = NodeConnection(ours, hello, new_id(), some_session())
    dispatcher.connections[connection.session.id] = connection
    run = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher, connection, theirs
    finally:
        assert not run.done()
        run.cancel()
        await asyncio.wait({run})
        await dispatcher.background.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [RowRefused("22021"), Unavailable("closing"), KeyError("a bug")])
async def test_a_failing_claim_does_not_end_the_loop(failure: Exception) -> None:
    """R18: after a claim that fails, the next hint claims again, and no slot stays held."""
    journal = Answers()
    async with dispatching(journal) as (dispatcher, connection, _):
        journal.answer = lambda _: failure
        dispatcher.arrived("m")
        await until(lambda: len(journal.ops) == 2 and connection.used == 0)
        journal.answer = lambda _: None
        dispatcher.arrived("m")
        await until(lambda: len(journal.ops) == 4 and connection.used == 0)


@pytest.mark.asyncio
async def test_a_wake_up_of_garbage_is_harmless() -> None:
    """R18: wake-ups are hints; one that names no lane of ours leads to nothing."""
    journal = Answers()
    async with dispatching(journal) as (dispatcher, connection, _):
        dispatcher.woken(b"\xff\x00nonsense")
        dispatcher.listen_control(b"not json")
        dispatcher.listen_control(b'["no", "object"]')
        dispatcher.listen_control(b'{"type":"cancel","task":7}')
        dispatcher.arrived("m")
        await until(lambda: journal.ops and connection.used == 0)
        assert {op.lane for op in journal.ops if isinstance(op, Want)} == {"m"}


@pytest.mark.asyncio
async def test_a_claim_is_handed_to_its_node() -> None:
    """R15: the slot of a claim becomes the slot of the task it brought; an empty claim frees its slot."""
    journal, task = Answers(), new_id()
    async with dispatching(journal) as (dispatcher, connection, node):
        tasks = [task]
        journal.answer = lambda op: claimed(op, tasks.pop()) if isinstance(op, Want) and tasks else None
        dispatcher.arrived("m")
        order = decode_to_node(await node.receive())
        assert isinstance(order, Assign)
        assert (order.task, order.attempt) == (task, 1)
        await until(lambda: connection.used == 1)


@pytest.mark.asyncio
async def test_a_task_claimed_for_a_node_that_left_is_handed_back() -> None:
    """R7: a claim that commits while its node disconnects goes back into the queue at once, uncharged."""
    journal = Answers()
    async with dispatching(journal) as (dispatcher, connection, _):

        def answer(op: Op) -> Any:
            if isinstance(op, Want):
                connection.leave()
                return claimed(op, new_id())
            return None

        journal.answer = answer
        dispatcher.arrived("m")
        back = await until(lambda: [op for op in journal.ops if isinstance(op, Requeue)])
        assert {op.charge.value for op in back} == {"none"}
        assert {op.session for op in back} == {connection.session}
        await until(lambda: connection.used == 0)


@pytest.mark.asyncio
async def test_a_fast_insert_for_a_node_that_left_is_handed_back() -> None:
    """R17: the same for a task that was inserted already running."""
    journal = Answers()
    async with dispatching(journal) as (dispatcher, connection, _):
        session = dispatcher.reserve("m")
        assert session == connection.session
        op = insertion(lane="m", model="m", session=session)
        connection.leave()
        dispatcher.inserted(op, Inserted(op.id, Status.RUNNING, now()))
        (back,) = await until(lambda: [op for op in journal.ops if isinstance(op, Requeue)])
        assert (back.task, back.attempt) == (op.id, 1)
        assert connection.used == 0


@pytest.mark.asyncio
async def test_a_reservation_ends_with_the_insert() -> None:
    """R17: whether the row was written, refused or queued behind others, the slot is free again."""
    journal = Answers()
    async with dispatching(journal) as (dispatcher, connection, _):
        for status in (None, Status.QUEUED):
            op = insertion(lane="m", model="m", session=dispatcher.reserve("m"))
            assert connection.used == 1
            dispatcher.inserted(op, Inserted(op.id, status, now()) if status else None)
            assert connection.used == 0
        await until(lambda: journal.ops and connection.used == 0, what="the queued task was claimed for")


@pytest.mark.asyncio
async def test_no_fast_path_where_others_wait() -> None:
    """R17: freed slots go to those who wait already."""
    async with dispatching(Answers()) as (dispatcher, connection, _):
        dispatcher.lanes.heat("m")
        assert dispatcher.reserve("m") is None
        assert dispatcher.reserve("unknown") is None
        assert connection.used == 0
