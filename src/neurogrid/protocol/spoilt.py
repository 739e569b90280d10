"""Frames that cannot be read although they say of which attempt they speak.

A model's NaN in a result would otherwise cost its node the connection, and every other task there its run.
"""

from __future__ import annotations

import re

from neurogrid.protocol.messages import FIRST_NODE_SEQ, Progress

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_VALUE = re.compile(rb'\s*:\s*(?:"([^"\\]{1,100})"|(\d{1,15})(?=\s*[,}]))')
_NAMES = frozenset({b'"type"', b'"task"', b'"attempt"', b'"seq"'})
_EVENTS = frozenset({b"chunk", b"progress", b"metric", b"log"})


def spoken_of(frame: bytes | str) -> Progress | None:
    """Return the attempt that a node's unreadable frame is about and the last event before it, if it says so.

    Reads the frame's own members alone, whatever lies in them and however deep. ``None`` for other frames than
    results and events.
    """
    members = _members(frame.encode(errors="replace") if isinstance(frame, str) else frame)
    try:
        type, task = members[b'"type"'], members[b'"task"'].decode()
        attempt, seq = int(members[b'"attempt"']), int(members[b'"seq"'])
    except (KeyError, ValueError):
        return None
    if type in _EVENTS:
        return task, attempt, max(seq - 1, FIRST_NODE_SEQ - 1)
    return (task, attempt, seq) if type == b"result" else None


def _members(frame: bytes) -> dict[bytes, bytes]:
    members: dict[bytes, bytes] = {}
    depth = 0
    for token in _TOKEN.finditer(frame):
        text = token[0]
        if text in b"[{":
            depth += 1
        elif text in b"]}":
            depth -= 1
        elif depth == 1 and text in _NAMES and (value := _VALUE.match(frame, token.end())):
            members[text] = value[1] or value[2]
    return members
