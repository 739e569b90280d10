"""The ``data`` of state events as they are kept in ``task_events``, as JSON text.

Outputs are not repeated here: whoever replays a final event takes the output from the task's row.
"""

from __future__ import annotations

from datetime import datetime

import orjson

from neurogrid.protocol.messages import Usage
from neurogrid.queue.ops import Finish, Insert, Requeue
from neurogrid.queue.policy import Priority, Status

CANCELED = '{"status":"canceled"}'
DEADLINE_EXCEEDED = '{"code":"deadline_exceeded","message":"The deadline passed before the task was done."}'
EXPIRED = f'{{"status":"failed","reason":"deadline","error":{DEADLINE_EXCEEDED},"dead_letter":false}}'
INHERITED = '{"status":"queued","reason":"leader_ended"}'
REPLAYED = '{"status":"queued","reason":"replayed"}'


def usage_json(usage: Usage) -> dict[str, float]:
    """Return usage as clients see it; tokens are counts, compute is in seconds."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "compute_seconds": usage.compute_seconds,
    }


def queued(op: Insert) -> str:
    """Return the data of ``task.queued``."""
    return _text({"status": "queued", "model": op.model, "priority": Priority(op.priority).name.lower()})


def running(attempt: int, node: str) -> str:
    """Return the data of ``task.running``."""
    return _text({"status": "running", "attempt": attempt, "node": node})


def finished(op: Finish) -> str:
    """Return the data of ``task.completed`` or ``task.failed``."""
    data: dict[str, object] = {"status": op.status.value, "usage": usage_json(op.usage)}
    if op.error is not None:
        data["error"] = orjson.Fragment(op.error)
        data["dead_letter"] = op.dead_letter
    return _text(data)


def requeued(op: Requeue) -> str:
    """Return the data of ``task.retrying``, or of ``task.failed`` when the charges are used up."""
    dead = op.status is Status.FAILED
    data: dict[str, object] = {"status": "failed" if dead else "queued", "reason": op.reason}
    if op.error is not None:
        data["error"] = orjson.Fragment(op.error)
    if dead:
        data["dead_letter"] = True
    elif op.delay:
        data["delay_seconds"] = round(op.delay, 3)
    return _text(data)


def _text(data: dict[str, object]) -> str:
    return orjson.dumps(data).decode()


def with_result(
    data: str, output: str | None, started_at: datetime | None, finished_at: datetime, *, apart: bool
) -> str:
    """Return a final event's data with the output (JSON text) and the time it took, as clients see it.

    An output kept apart is too large for an event; ``output_omitted`` says to fetch the task instead.
    """
    took = processing_time_ms(started_at, finished_at)
    omitted = ',"output_omitted":true' if apart else ""
    return f'{data[:-1]},"output":{output or "null"}{omitted},"processing_time_ms":{orjson.dumps(took).decode()}}}'


def processing_time_ms(started_at: datetime | None, finished_at: datetime | None) -> float | None:
    """Return the milliseconds from start to end of the last attempt."""
    if started_at is None or finished_at is None:
        return None
    return round((finished_at - started_at).total_seconds() * 1000, 3)
