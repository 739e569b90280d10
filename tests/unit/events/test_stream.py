"""The rule by which an event enters a stream, and the bounds of streams in memory."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from neurogrid.events.stream import RUNNING_TTL, MemoryStreams, Outcome, judge
from neurogrid.protocol.events import START, Event, EventId, EventType, make_event

TASK = "0190b0f0-0000-7000-8000-000000000001"


def event(id: str, type: EventType = EventType.CHUNK, task: str = TASK) -> Event:
    return make_event(task, EventId.parse(id), type)


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_first_event_of_a_node_makes_the_stream_and_later_ones_extend_it() -> None:
    """A stream begins with the node's first event and grows without holes."""
    streams = MemoryStreams(10, 60)
    assert [streams.append(event(f"1-{seq}")) for seq in (2, 3, 4)] == [Outcome.OK] * 3
    assert [str(kept.id) for kept in streams.after(TASK, START)] == ["1-2", "1-3", "1-4"]
    assert [str(kept.id) for kept in streams.after(TASK, EventId(1, 3))] == ["1-4"]


def test_state_events_make_no_stream() -> None:
    """A task without node events costs no stream (R23)."""
    streams = MemoryStreams(10, 60)
    for id, type in (("0-1", EventType.QUEUED), ("1-1", EventType.RUNNING), ("1-2", EventType.COMPLETED)):
        assert streams.append(event(id, type)) is Outcome.OK
    assert len(streams) == 0


def test_outcomes_name_what_is_wrong() -> None:
    """Repeats, older attempts and holes are told apart."""
    top = EventId(2, 5)
    assert judge(top, event("2-5")).outcome is Outcome.DUP
    assert judge(top, event("1-9")).outcome is Outcome.STALE
    assert judge(top, event("2-7")).outcome is Outcome.GAP
    assert judge(top, event("3-3")).outcome is Outcome.GAP
    assert judge(None, event("1-3")).outcome is Outcome.GAP
    assert judge(top, event("3-2")).outcome is Outcome.OK
    assert judge(top, event("2-6")).outcome is Outcome.OK
    assert judge(top, event("3-0", EventType.RETRYING)).append
    assert judge(top, event("2-9", EventType.FAILED)).append


def test_a_snapshot_replaces_what_it_folds_and_is_published_even_when_known() -> None:
    """Whoever asked for a snapshot gets it, whether or not the stream needed one."""
    streams = MemoryStreams(10, 60)
    streams.append(event("1-2"))
    assert streams.append(event("1-8", EventType.SNAPSHOT)) is Outcome.OK
    assert [str(kept.id) for kept in streams.after(TASK, START)] == ["1-8"]
    known = judge(EventId(1, 9), event("1-8", EventType.SNAPSHOT))
    assert known.publish
    assert not known.append


def test_streams_keep_the_newest_events_only() -> None:
    """A stream never holds more than its length."""
    streams = MemoryStreams(3, 60)
    for seq in range(2, 12):
        streams.append(event(f"1-{seq}"))
    assert [kept.id.seq for kept in streams.after(TASK, START)] == [9, 10, 11]


def test_streams_of_finished_tasks_linger_and_go() -> None:
    """After the end a stream stays replayable for its linger; a replay of the task keeps it longer."""
    clock = Clock()
    streams = MemoryStreams(10, 60, clock=clock)
    for task in ("over", "replayed"):
        streams.append(event("1-2", task=task))
        streams.append(event("1-3", EventType.FAILED, task=task))
    clock.now = 59
    streams.append(event("2-0", EventType.RETRYING, task="replayed"))
    assert len(streams.after("over", START)) == 2
    clock.now = 60
    assert streams.after("over", START) == []
    assert len(streams.after("replayed", START)) == 3
    clock.now = 59 + RUNNING_TTL
    assert len(streams) == 1
    assert streams.after("replayed", START) == []
    assert len(streams) == 0


def test_all_streams_together_are_bounded() -> None:
    """However many tasks stream, memory stays within its bound; the longest silent goes first."""
    streams = MemoryStreams(100, 60, max_bytes=20_000)
    for task in range(200):
        streams.append(event("1-2", task=f"task-{task}"))
    assert len(streams) < 60
    assert streams.after("task-199", START)
    assert not streams.after("task-0", START)


TYPES = st.sampled_from(
    [
        EventType.CHUNK,
        EventType.CHUNK,
        EventType.LOG,
        EventType.SNAPSHOT,
        EventType.RETRYING,
        EventType.FAILED,
    ]
)
IDS = st.builds(EventId, st.integers(1, 3), st.integers(0, 6))


@given(st.lists(st.tuples(IDS, TYPES), max_size=40))
def test_a_stream_is_always_ordered_and_node_events_in_it_contiguous(
    offered: list[tuple[EventId, EventType]],
) -> None:
    """Whatever is offered, ids in a stream rise, and a node event stands after its predecessor or begins one."""
    streams = MemoryStreams(100, 60)
    for id, type in offered:
        streams.append(make_event(TASK, id, type))
    kept = streams.after(TASK, START)
    for before, after in pairwise(kept):
        assert before.id < after.id
        if after.type in {EventType.CHUNK, EventType.LOG}:
            assert after.id == (before.id.attempt, before.id.seq + 1) or after.id.seq == 2
