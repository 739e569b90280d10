"""What waits for the journal's next transaction, and who waits for it (R12)."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from neurogrid.queue.answers import Answer
from neurogrid.queue.ops import (
    Admit,
    Bill,
    Cancel,
    Evict,
    Expire,
    Finish,
    Insert,
    Op,
    Renew,
    Replay,
    Requeue,
    Settle,
    Want,
)

ORDER: tuple[type[Op], ...] = (
    Renew, Finish, Requeue, Evict, Cancel, Expire, Settle, Admit, Bill, Replay, Want, Insert,
)  # fmt: skip


class Caller:
    """Who waits for one row or for many; ``done`` once each has its answer."""

    __slots__ = ("answers", "done", "left")

    def __init__(self, rows: int) -> None:
        """Wait for the answers of ``rows`` rows."""
        self.answers: list[Answer | Exception] = [None] * rows
        self.left = rows
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Entry:
    """One row, at its ``place`` among those of its caller."""

    __slots__ = ("answered", "caller", "op", "place", "size", "taken")

    def __init__(self, op: Op, caller: Caller, place: int) -> None:
        """Nothing is known of ``op`` yet."""
        self.op = op
        self.size = op.size
        self.caller = caller
        self.place = place
        self.answered = False
        self.taken = False
        """Out of the queue: part of a batch, or withdrawn."""

    def answer(self, answer: Answer | Exception) -> None:
        """Say what became of the row; what is said first stands."""
        if self.answered:
            return
        self.answered = True
        caller = self.caller
        caller.answers[self.place] = answer
        caller.left -= 1
        if not caller.left and not caller.done.done():
            caller.done.set_result(None)


@dataclass(slots=True)
class Waiting:
    """What waits, by kind, with its bounds."""

    queues: dict[type[Op], deque[Entry]] = field(default_factory=lambda: {kind: deque() for kind in ORDER})
    rows: int = 0
    bytes: int = 0

    def put(self, entry: Entry) -> None:
        """Let an entry wait."""
        self.queues[type(entry.op)].append(entry)
        self.rows += 1
        self.bytes += entry.size

    def drop(self, entry: Entry) -> None:
        """Let an entry wait no longer."""
        self.queues[type(entry.op)].remove(entry)
        self._forget(entry)

    def take(self, rows: int, size: int) -> list[list[Entry]]:
        """Remove and return the next batch: at least one entry, else within both bounds."""
        taken: list[list[Entry]] = [[] for _ in ORDER]
        for kind, entries in zip(ORDER, taken, strict=True):
            queue = self.queues[kind]
            while queue:
                entry = queue[0]
                if rows <= 0 or (entry.size > size and any(taken)):
                    return taken
                queue.popleft()
                entry.taken = True
                rows -= 1
                size -= entry.size
                self._forget(entry)
                entries.append(entry)
        return taken

    def _forget(self, entry: Entry) -> None:
        self.rows -= 1
        self.bytes -= entry.size
