"""A client of the drill notices every way in which a live stream can lie to it."""

from __future__ import annotations

import pytest

from neurogrid.drill.records import StreamRecord
from neurogrid.protocol.events import EventId

TEXT = "1 2 3 "
WHOLE = [
    ("0-1", "task.queued", {}),
    ("1-1", "task.running", {}),
    ("1-2", "task.chunk", {"text": "1 "}),
    ("1-3", "task.chunk", {"text": "2 "}),
    ("1-4", "task.chunk", {"text": "3 "}),
    ("1-5", "task.completed", {}),
]
Event = tuple[str, str, dict[str, str]]


def record(*events: Event) -> StreamRecord:
    stream = StreamRecord("t", "sse", TEXT)
    for identifier, type_, data in events:
        stream.take(EventId.parse(identifier), type_, data)
    return stream


def test_a_whole_stream_is_in_order() -> None:
    """Nothing is held against a stream that brings every event once."""
    stream = record(*WHOLE)
    assert stream.problems == []
    assert stream.text == TEXT
    assert stream.final == (EventId(1, 5), "task.completed")


@pytest.mark.parametrize("missing", range(len(WHOLE) - 1))
def test_no_event_may_be_left_out(missing: int) -> None:
    """Whichever event is missing, the client notices."""
    assert record(*WHOLE[:missing], *WHOLE[missing + 1 :]).problems


@pytest.mark.parametrize("twice", range(len(WHOLE)))
def test_no_event_may_be_repeated(twice: int) -> None:
    """Whichever event comes a second time, the client notices, and its text does not change."""
    stream = record(*WHOLE[: twice + 1], *WHOLE[twice:])
    assert stream.problems == [f"{WHOLE[twice][1]} {WHOLE[twice][0]} repeated"]
    assert stream.text == TEXT


def test_events_may_not_change_places() -> None:
    """Ids only rise."""
    stream = record(*WHOLE[:2], WHOLE[3], WHOLE[2])
    assert any("out of order" in problem for problem in stream.problems)


def test_a_retry_starts_the_text_over() -> None:
    """The text of a lost attempt is dropped, and the new one has to be whole."""
    again = [(f"2-{id.partition('-')[2]}", type_, data) for id, type_, data in WHOLE[1:]]
    stream = record(*WHOLE[:4], ("2-0", "task.retrying", {}), *again)
    assert stream.problems == []
    assert (stream.text, stream.replaced) == (TEXT, 1)


def test_a_snapshot_stands_in_for_what_is_missing() -> None:
    """Events may be missing where a snapshot of the right text comes instead."""
    stream = record(*WHOLE[:2], ("1-3", "task.snapshot", {"text": "1 2 "}), *WHOLE[4:])
    assert stream.problems == []
    assert stream.text == TEXT


def test_a_snapshot_must_tell_the_truth() -> None:
    """A snapshot whose text is not how the output begins is a gap like any other."""
    assert record(*WHOLE[:2], ("1-3", "task.snapshot", {"text": "2 "}), *WHOLE[4:]).problems


def test_a_snapshot_right_before_the_end_is_the_models_own_output() -> None:
    """Where all events of the node are lost, the output says what there is; these models have no text in theirs."""
    assert record(*WHOLE[:2], ("1-4", "task.snapshot", {"text": ""}), WHOLE[5]).problems == []


def test_nothing_comes_after_the_end() -> None:
    """An end is an end."""
    assert record(*WHOLE, ("2-0", "task.retrying", {})).problems == ["task.retrying 2-0 after the end, 1-5"]


def test_a_gateway_may_not_send_a_client_away_before_the_end() -> None:
    """Being told that nothing more comes, without having seen the end, is a gap."""
    stream = record(*WHOLE[:3])
    stream.over()
    assert stream.problems == ["ended after 1-2, before the end of the task"]
