"""The client's parts that need no connection: the event stream's format, the rules of repeating, the text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.client.calls import Answer, Call, connection
from neurogrid.client.following import TextFold
from neurogrid.client.retrying import (
    LONGEST_DELAY,
    LONGEST_RETRY_AFTER,
    Lost,
    Pause,
    backoff,
    conversation,
    retry_after,
)
from neurogrid.client.sse import Parser, ServerSentEvent
from neurogrid.client.types import Task, TaskEvent
from neurogrid.protocol.events import EventType

STREAM = (
    (
        "\ufeff: comment\r\n\r\nid: 1-1\nevent: a\ndata: one\n\n"
        "id:1-2\rdata: two\rdata:  three\r\r"
        ':\n\nretry: 5\n\ndata\n\nunknown: x\r\nid: 1-3\r\nevent: ü\r\ndata: {"é": 1}\r\n\r\ndata: unfinished'
    )
    .removeprefix("\ufeff")
    .encode()
)
EVENTS = [
    ServerSentEvent("a", "one", "1-1"),
    ServerSentEvent("message", "two\n three", "1-2"),
    ServerSentEvent("message", "", "1-2"),
    ServerSentEvent("ü", '{"é": 1}', "1-3"),
]  # fmt: skip


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_reads_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    """However a stream is cut into pieces, in the middle of a character or a line end, it is the same events."""
    parser = Parser()
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(edges)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS


def call(*, repeatable: bool) -> Call[str]:
    return Call("GET", "/", str, repeatable=repeatable)


def problem(status: int, code: str = "x", **headers: str) -> Answer:
    return Answer(status, headers, f'{{"code":"{code}","detail":"d"}}'.encode())


@pytest.mark.parametrize(
    ("outcome", "repeated", "repeated_if_harmless"),
    [
        (problem(429), True, True),
        (problem(503), True, True),
        (problem(503, "outcome_unknown"), False, True),
        (problem(502), False, True),
        (problem(504), False, True),
        (problem(500), False, False),
        (problem(404), False, False),
        (Lost("refused", sent=False), True, True),
        (Lost("reset", sent=True), False, True),
    ],
    ids=str,
)
def test_what_is_sent_again(outcome: Answer | Lost, *, repeated: bool, repeated_if_harmless: bool) -> None:
    """A request is repeated where nothing was done, and else only where repeating does no harm."""
    for repeatable, expected in ((False, repeated), (True, repeated_if_harmless)):
        steps = conversation(call(repeatable=repeatable), retries=1)
        assert next(steps) is None
        if expected:
            assert isinstance(steps.send(outcome), Pause)
        else:
            with pytest.raises(Exception, match=r"d|reset"):
                steps.send(outcome)


def test_pauses_are_bounded() -> None:
    """Pauses grow, and neither they nor the gateway's wish grow without bound."""
    assert 0 < backoff(0) < backoff(3) <= backoff(50) <= LONGEST_DELAY
    assert retry_after(problem(429, **{"retry-after": "3"})) == 3
    assert retry_after(problem(429, **{"retry-after": "999999"})) == LONGEST_RETRY_AFTER
    assert retry_after(problem(429, **{"retry-after": "Fri, 01 Jan 2027 00:00:00 GMT"})) is None


def event(id: str, type: str, **data: object) -> TaskEvent:
    return TaskEvent.parse(
        {"id": id, "type": type, "task_id": "t", "at": "2026-11-22T10:00:00Z", "data": data}
    )


def test_text_follows_the_events() -> None:
    """Chunks append, a retry drops, a snapshot replaces; anything else changes nothing."""
    fold = TextFold()
    story = [
        (event("1-2", EventType.CHUNK, text="ab"), "ab", "ab"),
        (event("1-3", EventType.PROGRESS, done=1), "", "ab"),
        (event("1-4", EventType.CHUNK, text="c"), "c", "abc"),
        (event("2-0", EventType.RETRYING), "", ""),
        (event("2-5", EventType.SNAPSHOT, text="xyz"), "xyz", "xyz"),
        (event("2-6", EventType.CHUNK, embedding=[1]), "", "xyz"),
        (event("2-7", EventType.COMPLETED), "", "xyz"),
    ]
    for each, piece, text in story:
        assert (fold.add(each), fold.text) == (piece, text)


def test_a_newer_gateway_is_understood() -> None:
    """Fields and event types of a later release do no harm."""
    task = Task.parse({"id": "1", "status": "completed", "model": "m", "later": {"x": 1}})
    assert task.raw["later"] == {"x": 1}
    assert not event("1-9", "task.later").final


def test_connection_comes_from_arguments_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given counts before the environment, and that before the default."""
    monkeypatch.delenv("NEUROGRID_URL", raising=False)
    monkeypatch.delenv("NEUROGRID_API_KEY", raising=False)
    url, headers = connection(None, None)
    assert url == "http://127.0.0.1:8000"
    assert "Authorization" not in headers
    monkeypatch.setenv("NEUROGRID_URL", "http://env/")
    monkeypatch.setenv("NEUROGRID_API_KEY", "k")
    assert connection(None, None)[0] == "http://env"
    assert connection("http://arg", "a")[1]["Authorization"] == "Bearer a"
