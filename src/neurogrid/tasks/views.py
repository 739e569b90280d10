"""Tasks as JSON, straight from rows: input, output and the like are passed on as the text they are kept in.

The keys are those of ``schemas.TaskView``; a test keeps them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from neurogrid.protocol.events import isoformat
from neurogrid.protocol.messages import Usage
from neurogrid.queue import eventdata
from neurogrid.queue.answers import Inserted
from neurogrid.queue.ops import Insert
from neurogrid.queue.policy import Priority, Status, WaitReason

PRIORITY_NAMES = {priority.value: priority.name.lower() for priority in Priority}
_EMPTY = orjson.Fragment(b"{}")
_NULL = orjson.Fragment(b"null")
_NO_USAGE = eventdata.usage_json(Usage())


def _json(text: str | None, absent: orjson.Fragment) -> orjson.Fragment:
    return orjson.Fragment(text) if text is not None else absent


def _time(moment: datetime | None) -> str | None:
    return isoformat(moment) if moment is not None else None


def summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's row as lists show it."""
    usage = Usage(row["prompt_tokens"], row["completion_tokens"], row["compute_seconds"])
    waiting = row["status"] == Status.WAITING
    return {
        "id": row["id"],
        "object": "task",
        "status": "queued" if waiting else row["status"],
        "model": row["model"],
        "parameters": orjson.Fragment(row["parameters"]),
        "error": _json(row["error"], _NULL),
        "usage": eventdata.usage_json(usage),
        "cached": row["cached"],
        "priority": PRIORITY_NAMES[row["class"]],
        "requires": _json(row["requires"], _EMPTY),
        "wait_reason": row["wait_reason"] if waiting else None,
        "attempt": row["attempt"],
        "errors": row["errors"],
        "max_attempts": row["max_attempts"],
        "timeout": row["timeout_s"],
        "deadline": _time(row["deadline"]),
        "on_disconnect": row["on_disconnect"],
        "dead_letter": row["dead_letter"],
        "node": row["node"],
        "metadata": _json(row["metadata"], _EMPTY),
        "workflow_id": row["workflow_id"],
        "batch_id": row["batch_id"],
        "created_at": _time(row["created_at"]),
        "started_at": _time(row["started_at"]),
        "finished_at": _time(row["finished_at"]),
        "processing_time_ms": eventdata.processing_time_ms(row["started_at"], row["finished_at"]),
    }


def whole(row: Mapping[str, Any]) -> bytes:
    """Return a task's row as JSON, with input and output."""
    view = summary(row)
    view["input"] = orjson.Fragment(row["input"])
    view["output"] = _json(row["output"], _NULL)
    return orjson.dumps(view)


def accepted(op: Insert, answer: Inserted) -> bytes:
    """Return a task that was just accepted as JSON, without reading it back."""
    running = answer.status is Status.RUNNING and op.session is not None
    follows = answer.status is Status.WAITING
    created = isoformat(answer.created_at)
    view = {
        "id": op.id,
        "object": "task",
        "status": "queued" if follows else answer.status.value,
        "model": op.model,
        "parameters": orjson.Fragment(op.parameters),
        "error": None,
        "usage": _NO_USAGE,
        "cached": False,
        "priority": PRIORITY_NAMES[op.priority],
        "requires": _json(op.requires, _EMPTY),
        "wait_reason": WaitReason.LEADER.value if follows else None,
        "attempt": 1,
        "errors": 0,
        "max_attempts": op.max_attempts,
        "timeout": op.timeout_s,
        "deadline": _time(op.deadline),
        "on_disconnect": op.on_disconnect,
        "dead_letter": False,
        "node": op.session.node if running and op.session else None,
        "metadata": _json(op.metadata, _EMPTY),
        "workflow_id": None,
        "batch_id": None,
        "created_at": created,
        "started_at": created if running else None,
        "finished_at": None,
        "processing_time_ms": None,
        "input": orjson.Fragment(op.input),
        "output": None,
    }
    return orjson.dumps(view)
