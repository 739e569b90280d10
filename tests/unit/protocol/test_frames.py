"""Messages travel alone or together, and unknown ones harm nobody."""

from __future__ import annotations

import pytest

from neurogrid.protocol.frames import (
    ARRAY_BYTES,
    ARRAY_LENGTH,
    BadMessage,
    encode,
    pack,
    read_from_node,
    read_to_node,
)
from neurogrid.protocol.messages import Cancel, Committed, Drained, Heartbeat


def test_what_is_packed_is_read_in_order() -> None:
    """One message is a frame by itself, several are an array, many are several arrays."""
    messages = [Committed(f"t{n}", n) for n in range(1, 2 * ARRAY_LENGTH + 2)]
    frames = list(pack(map(encode, messages)))
    assert [len(read_to_node(frame)) for frame in frames] == [ARRAY_LENGTH, ARRAY_LENGTH, 1]
    assert [message for frame in frames for message in read_to_node(frame)] == messages
    assert frames[-1] == encode(messages[-1])
    assert read_to_node(frames[0].decode()) == messages[:ARRAY_LENGTH]
    assert not list(pack([]))


def test_frames_have_a_size() -> None:
    """Large messages travel alone."""
    small, large = encode(Drained()), encode(Committed("x" * ARRAY_BYTES, 1))
    assert list(pack([small, large, small, small])) == [small, large, b"[%b,%b]" % (small, small)]


def test_unknown_messages_are_passed_over_in_arrays_too() -> None:
    """R30: what a newer peer says besides is ignored."""
    frame = b'[{"type":"news","is":[1]},{"type":"drained"},{"type":"heartbeat","mood":"fine"}]'
    assert read_from_node(frame) == [Drained(), Heartbeat()]
    assert read_from_node(b'{"type":"news"}') == read_from_node(b"[]") == []


@pytest.mark.parametrize(
    "frame",
    [
        b"[",
        b"[]]",
        b'[{"type":"drained"},]',
        b'[{"type":"drained"},5]',
        b'[{"type":"heartbeat"},{"type":"heartbeat","load":"much"}]',
        b"[" * 100_000,
    ],
)
def test_a_bad_array_is_no_message(frame: bytes) -> None:
    """Nothing of it counts."""
    with pytest.raises(BadMessage):
        read_from_node(frame)


def test_sides_are_told_apart() -> None:
    """What only a gateway says is nothing a node can say."""
    assert read_from_node(pack_one(Cancel("t", 1))) == []


def pack_one(*messages: Cancel) -> bytes:
    (frame,) = pack(map(encode, messages))
    return frame
