"""The log of an attempt numbers its events and can always say them again."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from neurogrid.agent.events import EventLog
from neurogrid.protocol.frames import decode_from_node
from neurogrid.protocol.messages import FIRST_NODE_SEQ, Chunk, Metric, Snapshot


def _say(log: EventLog, text: str) -> None:
    log.append(Chunk, b'{"text":"%b"}' % text.encode(), text)


def _rest(log: EventLog) -> Iterator[Chunk | Metric | Snapshot]:
    while (frame := log.take()) is not None:
        message = decode_from_node(frame)
        assert isinstance(message, Chunk | Metric | Snapshot)
        yield message


def test_events_are_numbered_from_two() -> None:
    """The first two numbers of an attempt belong to the gateway (R21)."""
    log = EventLog("t", 3)
    assert log.last == log.sent == FIRST_NODE_SEQ - 1
    _say(log, "a")
    log.append(Metric, b'{"loss":1}')
    assert [(event.attempt, event.seq) for event in _rest(log)] == [(3, 2), (3, 3)]
    assert log.last == log.sent == 3


def test_resend_repeats_from_the_wanted_event() -> None:
    """What is still kept is sent again as it was."""
    log = EventLog("t", 1)
    for text in "abc":
        _say(log, text)
    before = list(_rest(log))
    log.rewind(3)
    assert list(_rest(log)) == before[1:]
    log.rewind(99)
    assert list(_rest(log)) == []


def test_folded_events_become_a_snapshot() -> None:
    """Past its bound the log tells the text so far, then the events it still has."""
    log = EventLog("t", 1, max_events=2)
    for text in "abcd":
        _say(log, text)
    first, *others = _rest(log)
    assert first == Snapshot("t", 1, 3, "ab")
    assert [event.seq for event in others] == [4, 5]
    log.rewind(2)
    assert next(_rest(log)) == first


@given(
    max_events=st.integers(1, 6),
    max_bytes=st.integers(1, 400),
    steps=st.lists(st.one_of(st.text("xyz", min_size=1, max_size=30), st.integers(0, 20), st.none())),
)
def test_a_reader_can_always_rebuild_the_text(
    max_events: int, max_bytes: int, steps: list[str | int | None]
) -> None:
    """Whatever is appended, taken and resent in whatever order, a reader that follows has the whole text."""
    log = EventLog("t", 1, max_events=max_events, max_bytes=max_bytes)
    said = ""
    texts = {FIRST_NODE_SEQ - 1: ""}

    def follow() -> None:
        for event in _rest(log):
            if isinstance(event, Snapshot):
                texts[event.seq] = event.text
            else:
                texts[event.seq] = texts[event.seq - 1] + bytes(event.data).decode()[9:-2]

    for step in steps:
        if isinstance(step, str):
            _say(log, step)
            said += step
        elif step is None:
            follow()
            assert texts[log.last] == said
        else:
            log.rewind(step)
            assert log.unsent[1] >= 0
    log.rewind(0)
    follow()
    assert texts[log.last] == said
    assert log.unsent == (0, 0)
