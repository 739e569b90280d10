"""A connected node: slots that never leak, sends that never hang, text that is kept."""

from __future__ import annotations

import asyncio
import json

import pytest

from neurogrid.core.ids import new_id
from neurogrid.dispatch.connection import NodeConnection, Running
from neurogrid.protocol.events import EventType, event_data
from neurogrid.protocol.link import IN_PROCESS_BUFFER, Link, LinkClosed, in_process_links
from neurogrid.protocol.messages import Hello, ModelSpec, Release
from neurogrid.queue.policy import Charges
from tests.support.queue import some_session
from tests.support.virtual_time import run_in_virtual_time

MODELS = [ModelSpec("one", "1", "test", slots=1, max_silence=5), ModelSpec("many", "1", "test", slots=10)]


def connected(link: Link | None = None, slots: int = 3) -> NodeConnection:
    hello = Hello(name="node", version="1", models=MODELS, slots=slots, labels={})
    return NodeConnection(link or in_process_links()[0], hello, new_id(), some_session())


def running(task: str = "t", attempt: int = 1, model: str = "many") -> Running:
    return Running(task, attempt, "owner", model, model, Charges(0, 0, 3))


def test_slots_are_bounded_by_node_and_by_model() -> None:
    """A model never gets more than its own slots, nor all models more than the node's."""
    connection = connected()
    assert (connection.free("one"), connection.free("many"), connection.free("none")) == (1, 3, 0)
    connection.reserve("one")
    assert (connection.free("one"), connection.free("many")) == (0, 2)
    connection.begin(running(model="many"))
    assert (connection.free("many"), connection.used) == (1, 2)
    connection.unreserve("one")
    assert connection.free("one") == 1
    assert connection.load == pytest.approx(1 / 3)


def test_a_slot_is_freed_once() -> None:
    """Ending an attempt twice, or another attempt, frees nothing that is in use."""
    connection = connected()
    first, other = running("a"), running("b")
    connection.begin(first)
    connection.begin(other)
    assert connection.end(first)
    assert not connection.end(first)
    assert not connection.end(running("b"))
    assert connection.used == 1


def test_a_later_attempt_takes_the_slot_of_the_earlier() -> None:
    """R1: when a task comes back to the node that lost it, its former attempt holds no slot any more."""
    connection = connected()
    earlier, later = running("a", 1), running("a", 2)
    connection.begin(earlier)
    connection.begin(later)
    assert connection.used == 1
    assert not connection.end(earlier)
    assert connection.end(later)
    assert connection.used == 0


def test_who_left_has_no_free_slots() -> None:
    """R3: a closed connection takes nothing; what it runs goes on."""
    connection = connected()
    connection.begin(running())
    connection.leave()
    assert (connection.free("many"), connection.used) == (0, 1)


def test_silence_is_the_models_own() -> None:
    """R5: each model says how long it may be silent; an unknown one gets the default."""
    connection = connected()
    assert connection.silence_allowed("one") == 5
    assert connection.silence_allowed("unknown") == 60


def test_sending_to_a_closed_node_says_so() -> None:
    """A send to a node that is gone is no error; the connection is left."""

    async def main() -> None:
        ours, theirs = in_process_links()
        connection = connected(ours)
        assert await connection.send(Release("t", 1))
        await theirs.close()
        assert not await connection.send(Release("t", 1))
        assert not connection.connected
        assert connection.free("many") == 0

    asyncio.run(main())


def test_a_node_that_does_not_read_holds_nobody_up() -> None:
    """Law 5: a send waits a bounded time; then the node counts as gone and its link is closed."""

    async def main() -> None:
        ours, theirs = in_process_links()
        connection = connected(ours)
        for _ in range(IN_PROCESS_BUFFER):
            assert await connection.send(Release("t", 1))
        assert not await connection.send(Release("t", 1))
        assert not connection.connected
        with pytest.raises(LinkClosed):
            await theirs.send(b"{}")

    run_in_virtual_time(main())


def test_snapshot_is_all_text_so_far() -> None:
    """R23: the gateway keeps the folded text of a running attempt; other chunks add nothing to it."""
    attempt = running()
    attempt.add(2, b'{"text":"Hel"}', text=True)
    attempt.add(3, b'{"level":"info"}', text=False)
    attempt.add(4, b'{"text":"lo"}', text=True)
    attempt.add(5, b"[1,2]", text=True)
    attempt.add(6, b'{"text":null}', text=True)
    event = attempt.snapshot()
    assert (event.type, str(event.id)) == (EventType.SNAPSHOT, "1-6")
    assert json.loads(event_data(event)) == {"text": "Hello"}
    attempt.replace(9, "Hello, world")
    attempt.add(10, b'{"text":"!"}', text=True)
    assert json.loads(event_data(attempt.snapshot())) == {"text": "Hello, world!"}
    assert str(attempt.snapshot().id) == "1-10"


def test_only_text_counts_against_its_bound() -> None:
    """What a piece has besides its text does not count, bytes do, and a snapshot replaces what was counted."""
    attempt = running()
    for seq in range(2, 12):
        attempt.add(seq, '{"text":"ä"}'.encode(), text=True)
    attempt.add(12, b"[1,2,3,4,5,6,7,8,9,10]", text=True)
    assert not attempt.exceeds(20)
    assert attempt.exceeds(19)
    attempt.replace(13, "ä")
    assert not attempt.exceeds(2)
    assert attempt.exceeds(1)


def test_kept_pieces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """R23: chunks are folded before they grow past the bound, and the text stays whole."""
    monkeypatch.setattr("neurogrid.dispatch.connection.MAX_KEPT", 100)
    attempt = running()
    for seq in range(2, 102):
        attempt.add(seq, b'{"text":"0123456789"}', text=True)
        assert sum(map(len, attempt._pieces)) <= 121
    assert json.loads(event_data(attempt.snapshot())) == {"text": "0123456789" * 100}
