"""How attempts end: the errors that a gateway finds itself, and which figures of a node it believes. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import orjson

from neurogrid.protocol.messages import Error, Failure, Result, Usage
from neurogrid.queue.ops import Finish
from neurogrid.queue.policy import Charge, Status

MAX_SEQ: Final = 2**31 - 1
MOST_TOKENS: Final = 10**9
CLOCK_SLACK: Final = 1.0
"""Seconds by which a node may think that an attempt took longer."""
LONGEST_RUN: Final = 366 * 24 * 3600.0
"""Seconds."""


def invalid_output(reason: str) -> Failure:
    """Return what becomes of a model that does not speak JSON."""
    return Failure("invalid_output", f"The model's output cannot be passed on: {reason}.")


def too_large(most: int) -> Failure:
    """Return what becomes of a model that does not stop talking; ``most`` is in bytes."""
    return Failure("output_too_large", f"The text of the output exceeds {most} bytes, the most there may be.")


def too_late(last: Failure) -> Failure:
    """Return what becomes of a task that would be tried again, had it the time."""
    text = (
        f"The deadline leaves no time for another attempt. The last one failed: {last.message} ({last.code})"
    )
    return Failure("deadline_exceeded", text)


def completed(message: Result, output: str | None) -> Finish:
    """Return the end of an attempt that succeeded; without ``output`` it is kept apart from the task's row."""
    return Finish(
        message.task,
        message.attempt,
        Status.COMPLETED,
        message.seq + 1,
        output=output,
        output_apart=output is None,
        usage=message.usage,
    )


def failed(message: Result | Error, failure: Failure, *, dead: bool = False) -> Finish:
    """Return the end of an attempt that failed for good."""
    return Finish(
        message.task,
        message.attempt,
        Status.FAILED,
        message.seq + 1,
        error=error_json(failure),
        charge=Charge.ERROR,
        dead_letter=dead,
        usage=message.usage,
    )


def refused_by_database(op: Finish) -> Finish:
    """Return the end of a task in place of one that the database does not take (R9)."""
    return Finish(
        op.task,
        op.attempt,
        Status.FAILED,
        min(op.final_seq, MAX_SEQ),
        error=error_json(invalid_output("the database does not take it")),
        charge=Charge.ERROR,
    )


def error_json(failure: Failure) -> str:
    """Return a failure as the database keeps it."""
    return orjson.dumps({"code": failure.code, "message": failure.message}).decode()


def at_most(usage: Usage, seconds: float) -> Usage:
    """Return what a node says it used, with no more compute than the attempt lasted, give or take its clock."""
    most = seconds + CLOCK_SLACK
    return usage if usage.compute_seconds <= most else msgspec.structs.replace(usage, compute_seconds=most)


def believable(usage: Usage) -> bool:
    """Tell whether a node's figures can be true: none is negative, and none beyond all measure."""
    return (
        0 <= usage.prompt_tokens <= MOST_TOKENS
        and 0 <= usage.completion_tokens <= MOST_TOKENS
        and 0 <= usage.compute_seconds <= LONGEST_RUN
    )
