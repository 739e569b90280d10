"""One task from input to outcome: whatever a model does, the gateway hears how it ended."""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from neurogrid.agent.attempt import MAX_OUTPUT, Attempt
from neurogrid.agent.encoding import encode_value
from neurogrid.protocol.messages import Assign, Error, Failure, Result, Usage
from neurogrid.runners.base import Runner, TaskError

_MAX_MESSAGE = 500

log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder().decode


async def run_task(runner: Runner, order: Assign, attempt: Attempt) -> Result | Error:
    """Run ``order`` and return its outcome; only cancellation gets out of here as an exception."""
    started = time.monotonic()
    limit = asyncio.timeout(order.timeout_s)
    try:
        async with limit:
            output = await runner.run(_decode(order.input), _decode(order.parameters), attempt)
        raw = _bounded(encode_value(output.value))
    except TaskError as error:
        return _failed(attempt, started, error)
    except asyncio.CancelledError:
        if _was_cancelled():
            raise
        return _failed(attempt, started, _defect("the model cancelled itself"))
    except Exception as error:  # a model's defect ends its task, never the node
        if limit.expired():
            late = TaskError("timeout", f"the run took longer than {order.timeout_s:g} s", retryable=True)
            return _failed(attempt, started, late)
        log.exception("task.model_failed", model=order.model, task=order.task, attempt=order.attempt)
        return _failed(attempt, started, _defect(f"{type(error).__name__}: {error}"))
    return Result(
        task=order.task,
        attempt=order.attempt,
        seq=attempt.events.last,
        output=msgspec.Raw(raw),
        usage=msgspec.structs.replace(output.usage, compute_seconds=_since(started)),
    )


def _bounded(raw: bytes) -> bytes:
    if len(raw) > MAX_OUTPUT:
        raise TaskError("output_too_large", f"the output has {len(raw)} bytes, allowed are {MAX_OUTPUT}")
    return raw


def _failed(attempt: Attempt, started: float, error: TaskError) -> Error:
    task, number = attempt.key
    return Error(
        task=task,
        attempt=number,
        seq=attempt.events.last,
        error=Failure(error.code, error.message[:_MAX_MESSAGE]),
        retryable=error.retryable,
        usage=Usage(compute_seconds=_since(started)),
    )


def _defect(message: str) -> TaskError:
    return TaskError("model_error", message, retryable=True)


def _was_cancelled() -> bool:
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


def _since(started: float) -> float:
    return round(time.monotonic() - started, 6)
