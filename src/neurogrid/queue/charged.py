"""What a task's row says it was charged, kept when the row goes: nothing that was used may be lost with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from neurogrid.queue import usage
from neurogrid.queue.tables import Task, UsageArchive

CHARGED: Final = (
    Task.owner_id, Task.key_id, Task.model, Task.created_at, Task.finished_at, Task.leader_id, Task.prompt_tokens,
    Task.completion_tokens, Task.compute_seconds,
)  # fmt: skip
"""The columns that ``archived`` needs."""


def archived(row: Any) -> Iterator[UsageArchive]:
    """Return what stands for the row of a finished task: its request, and what it used unless another task ran for it."""
    who = {"user_id": row.owner_id, "key_id": row.key_id or usage.NO_KEY, "model": row.model}
    yield UsageArchive(
        **who, day=row.created_at.date(), requests=1, prompt_tokens=0, completion_tokens=0, compute_us=0
    )
    if row.leader_id is None:
        yield UsageArchive(
            **who,
            day=row.finished_at.date(),
            requests=0,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            compute_us=usage.microseconds(row.compute_seconds),
        )
