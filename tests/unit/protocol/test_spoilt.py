"""A frame that cannot be read still says whose it is."""

from __future__ import annotations

import pytest

from neurogrid.protocol.frames import BadMessage, decode_from_node
from neurogrid.protocol.spoilt import spoken_of

DEEP = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    ("frame", "about"),
    [
        ('{"type":"result","task":"t","attempt":2,"seq":7,"output":NaN}', ("t", 2, 7)),
        ('{"attempt": 2, "output": {"a": [NaN]}, "seq": 7, "task": "t", "type": "result"}', ("t", 2, 7)),
        (f'{{"type":"result","output":{DEEP},"task":"t","attempt":2,"seq":7}}', ("t", 2, 7)),
        ('{"type":"result","output":"\\ud800\\"{","task":"t","attempt":2,"seq":7}', ("t", 2, 7)),
        ('{"type":"chunk","task":"t","attempt":2,"seq":7,"data":{"p":NaN}}', ("t", 2, 6)),
        ('{"type":"metric","task":"t","attempt":2,"seq":0,"data":NaN}', ("t", 2, 1)),
    ],
)
def test_whose_it_is(frame: str, about: object) -> None:
    """Whatever the order of its members, and whatever is wrong with what the model said."""
    with pytest.raises(BadMessage):
        decode_from_node(frame)
    assert spoken_of(frame) == spoken_of(frame.encode()) == about


@pytest.mark.parametrize(
    "frame",
    [
        "garbage",
        '{"type":"result","task":"t","attempt":2,"output":NaN}',
        '{"type":"heartbeat","task":"t","attempt":2,"seq":7,"load":NaN}',
        '{"type":"result","output":{"task":"u","attempt":1,"seq":7},"attempt":2,"seq":7}',
        '{"type":"result","output":["task",":","u"],"attempt":2,"seq":7,"x":"task"}',
        '{"type":"result","task":"t","attempt":2.5,"seq":7}',
    ],
)
def test_nobodys(frame: str) -> None:
    """What lies inside the output names no task, and nothing is guessed."""
    assert spoken_of(frame) is None
