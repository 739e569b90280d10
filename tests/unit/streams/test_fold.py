"""How a reader folds events into text."""

from __future__ import annotations

from itertools import accumulate

from neurogrid.protocol.events import EventId, EventType, fold, make_event
from tests.support.live import chunk, snapshot, state

TASK = "task"


def test_chunks_append_snapshots_replace_retries_start_over() -> None:
    """R22, R26: the folded text is that of the attempt that counts, at every step."""
    events = [
        state(TASK, "1-1", EventType.RUNNING),
        chunk(TASK, 1, 2, "lost"),
        state(TASK, "2-0", EventType.RETRYING),
        state(TASK, "2-1", EventType.RUNNING),
        chunk(TASK, 2, 2, "what is "),
        snapshot(TASK, 2, 5, "what is kept"),
        chunk(TASK, 2, 6, ", and more"),
        state(TASK, "2-7", EventType.COMPLETED),
    ]
    texts = list(accumulate(events, fold, initial=""))
    assert texts[3:7] == ["", "", "what is ", "what is kept"]
    assert texts[-1] == "what is kept, and more"


def test_chunks_without_text_leave_the_text_alone() -> None:
    """Models that stream something else than text do no harm."""
    for data in (b"[1, 2]", b'"x"', b'{"text": 3}', b"{}"):
        assert fold("kept", make_event(TASK, EventId(1, 2), EventType.CHUNK, data)) == "kept"
