"""What the journal answers: what became of one row, read from the row itself after the commit.

``None`` means the row was not in the state the operation requires: stale.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from neurogrid.queue.policy import Status


class Heirs(msgspec.Struct, frozen=True, gc=False):
    """What the end of a task left to its followers: its result, or to the oldest of them its place (R20)."""

    finished: tuple[Finished, ...] = ()
    leader: Requeued | None = None


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """The lanes in which tasks of an owner are claimable now that had to wait for others of theirs (LIM-3)."""

    lanes: tuple[str, ...] = ()


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A task's last state, as committed; ``heirs`` are those who shared its execution, ``admitted`` who may run now."""

    task: str
    owner: str
    attempt: int
    final_seq: int
    status: Status
    node: str | None
    started_at: datetime
    finished_at: datetime
    heirs: Heirs = Heirs()
    admitted: Admitted = Admitted()


class Requeued(msgspec.Struct, frozen=True, gc=False):
    """A task that left ``running`` for another attempt; ``attempt`` is the new one."""

    task: str
    owner: str
    lane: str
    attempt: int
    status: Status
    at: datetime
    data: str
    heirs: Heirs = Heirs()


class Canceled(msgspec.Struct, frozen=True, gc=False):
    """A cancelled task; ``attempt`` is the new one, ``session`` the one that was running it."""

    task: str
    owner: str
    attempt: int
    session: str | None
    at: datetime
    heirs: Heirs = Heirs()


class Expired(msgspec.Struct, frozen=True, gc=False):
    """A task that missed its deadline; ``attempt`` is the new one, ``session`` the one that was running it."""

    task: str
    owner: str
    attempt: int
    session: str | None
    at: datetime
    heirs: Heirs = Heirs()


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """A task that is now running on the session that wanted it."""

    task: str
    owner: str
    lane: str
    model: str
    attempt: int
    errors: int
    losses: int
    max_attempts: int
    input: str
    parameters: str
    timeout_s: float | None
    deadline: datetime | None
    started_at: datetime
    session: str
    priority: int = 1
    rank: float = 0.0
    cost: float = 1.0
    weight: float = 1.0


class Inserted(msgspec.Struct, frozen=True, gc=False):
    """A task that is now durable: ``running`` on the session offered, ``queued``, or ``waiting`` for its leader."""

    task: str
    status: Status
    created_at: datetime
    rank: float = 0.0


class Duplicate(msgspec.Struct, frozen=True, gc=False):
    """The task that an idempotency key stands for, and the hash of what was asked for then."""

    task: str
    body_hash: str


Answer = (
    bool | Finished | Requeued | Canceled | Expired | Heirs | Admitted | Claimed | Inserted | Duplicate | None
)
