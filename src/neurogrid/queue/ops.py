"""What can be asked of the journal: one small value per row. What comes back is in ``answers``.

The journal executes them in batches (R12). They are structs, because one is made for every step of every task and
a frozen dataclass takes five to twenty times as long to make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import msgspec

from neurogrid.core.ids import new_id
from neurogrid.protocol.messages import Usage
from neurogrid.queue.policy import Charge, Status

ROW_OVERHEAD = 256
"""Bytes a row costs besides its payload, for the journal's bounds."""


class SessionRef(msgspec.Struct, frozen=True, gc=False):
    """A node's session as a gateway believes it to be: good only while ``gen`` is current (R3)."""

    id: str
    gen: int
    node: str


class Renew(msgspec.Struct, frozen=True, gc=False):
    """Prolong a session's lease by ``lease`` seconds. Answers ``True``, or ``None`` when it is lost."""

    session: SessionRef
    lease: float

    size = ROW_OVERHEAD


class Finish(msgspec.Struct, frozen=True, gc=False):
    """A running attempt came to its end: completed, or failed for good. Answers ``Finished``."""

    task: str
    attempt: int
    status: Status
    final_seq: int
    output: str | None = None
    output_apart: bool = False
    error: str | None = None
    charge: Charge = Charge.NONE
    dead_letter: bool = False
    usage: Usage = Usage()
    write_id: str = msgspec.field(default_factory=new_id)

    @property
    def size(self) -> int:
        """Bytes this row puts on the wire, about."""
        return ROW_OVERHEAD + len(self.output or "") + len(self.error or "")


class Guard(StrEnum):
    """What must be true of a task's session for ``Requeue`` to move it, checked in SQL."""

    HELD = "held"
    """The task is held by the given session in the given generation (R3)."""
    EXPIRED = "expired"
    """The same, and the lease has run out (R4)."""
    ORPHANED = "orphaned"
    """The task's session does not exist (R4)."""


class Requeue(msgspec.Struct, frozen=True, gc=False):
    """End an attempt without finishing the task (R1): queued, waiting ``delay`` seconds, or dead.

    Always fenced by ``(task, attempt)``, and by ``guard`` if there is one. Answers ``Requeued``.
    """

    task: str
    attempt: int
    status: Status
    charge: Charge
    reason: str
    delay: float = 0.0
    error: str | None = None
    guard: Guard | None = None
    session: SessionRef | None = None
    write_id: str = msgspec.field(default_factory=new_id)

    size = ROW_OVERHEAD


class Evict(msgspec.Struct, frozen=True, gc=False):
    """Delete a session whose lease has run out and that holds no task any more (R4). Answers ``True``."""

    session: SessionRef

    size = ROW_OVERHEAD


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Cancel a task that is not final, if it belongs to ``owner`` (``None``: whoever). Answers ``Canceled``."""

    task: str
    owner: str | None = None
    write_id: str = msgspec.field(default_factory=new_id)

    size = ROW_OVERHEAD


class Expire(msgspec.Struct, frozen=True, gc=False):
    """Fail a task whose deadline has passed, by the database's clock, wherever it stands. Answers ``Expired``."""

    task: str
    write_id: str = msgspec.field(default_factory=new_id)

    size = ROW_OVERHEAD


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Give the followers of a task that is over what is theirs, as its end should have done (R20). Answers ``Heirs``."""

    leader: str

    size = ROW_OVERHEAD


class Admit(msgspec.Struct, frozen=True, gc=False):
    """Make as many of an owner's tasks claimable as may run beside those that do (LIM-3). Answers their lanes."""

    owner: str

    size = ROW_OVERHEAD


class Bill(msgspec.Struct, frozen=True, gc=False):
    """Set what a stopped attempt had used, once; ``attempt`` is the one its end opened (R26). Answers ``True``."""

    task: str
    attempt: int
    usage: Usage

    size = ROW_OVERHEAD


class Replay(msgspec.Struct, frozen=True, gc=False):
    """Queue a failed or cancelled task of ``owner`` anew, with nothing charged (R1). Answers ``Requeued``."""

    task: str
    owner: str
    write_id: str = msgspec.field(default_factory=new_id)

    size = ROW_OVERHEAD


class Want(msgspec.Struct, frozen=True, gc=False):
    """One free slot for one lane, on one node. Answers ``Claimed``, or ``None`` when the lane is empty.

    ``floors`` are ranks, one a priority class, below which nothing is looked for (R16). ``aged`` begins with
    the lowest class (R17).
    """

    lane: str
    session: SessionRef
    floors: tuple[float, float, float] = (0.0, 0.0, 0.0)
    aged: bool = False
    write_id: str = msgspec.field(default_factory=new_id)

    size = ROW_OVERHEAD


class Idempotency(msgspec.Struct, frozen=True, gc=False):
    """What makes a submission happen once: the owner's key, and the hash of what was asked for (R19)."""

    key: str
    body_hash: str


class Insert(msgspec.Struct, frozen=True, gc=False):
    """A new task. With ``session`` it asks for the fast path (R17); a ``deterministic`` one shares the execution
    of an equal one of its owner that is alive (R20).

    Answers ``Inserted``, or ``Duplicate`` when its idempotency key stands for a task already. Of two rows with
    one key only one may be in a batch: callers take turns.
    """

    id: str
    owner: str
    lane: str
    model: str
    model_version: str
    priority: int
    input: str
    parameters: str
    input_hash: str
    max_attempts: int
    deterministic: bool = False
    requires: str | None = None
    metadata: str | None = None
    on_disconnect: str = "detach"
    timeout_s: float | None = None
    deadline: datetime | None = None
    cost: float = 1.0
    weight: float = 1.0
    at_once: int | None = None
    """How many tasks of the owner run together at most; ``None``: any number (LIM-3)."""
    corrected: float = 0.0
    """What of ``cost`` stands for earlier tasks of the owner, which cost more or less than estimated."""
    present: float = 0.0
    """The virtual time of the lane and class, as this gateway knows it (R17)."""
    session: SessionRef | None = None
    once: Idempotency | None = None
    key_id: str | None = None
    """The API key it was submitted by."""
    write_id: str = msgspec.field(default_factory=new_id)

    @property
    def size(self) -> int:
        """Bytes this row puts on the wire, about."""
        return ROW_OVERHEAD + len(self.input) + len(self.parameters) + len(self.metadata or "")


Op = Renew | Finish | Requeue | Evict | Cancel | Expire | Settle | Admit | Bill | Replay | Want | Insert


@dataclass(slots=True)
class Batch:
    """What one transaction does, in this order, so that renewals never wait behind bulk (R12)."""

    renews: list[Renew] = field(default_factory=list)
    finishes: list[Finish] = field(default_factory=list)
    requeues: list[Requeue] = field(default_factory=list)
    evicts: list[Evict] = field(default_factory=list)
    cancels: list[Cancel] = field(default_factory=list)
    expires: list[Expire] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)
    admits: list[Admit] = field(default_factory=list)
    bills: list[Bill] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)
    wants: list[Want] = field(default_factory=list)
    inserts: list[Insert] = field(default_factory=list)

    @classmethod
    def of(cls, lists: Sequence[Sequence[Op]]) -> Batch:
        """Make a batch of lists of operations, one a kind, in the order of ``lists``."""
        return cls(*cast("Any", lists))

    def lists(self) -> tuple[Sequence[Op], ...]:
        """Return the lists in the order of execution."""
        return (
            self.renews, self.finishes, self.requeues, self.evicts, self.cancels, self.expires,
            self.settles, self.admits, self.bills, self.replays, self.wants, self.inserts,
        )  # fmt: skip
