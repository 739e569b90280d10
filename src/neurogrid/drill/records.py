"""What each client remembers, and what of it contradicts the promises made to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neurogrid.drill.work import End, Work
from neurogrid.protocol.events import FINAL, START, EventId, EventType, follows


class StreamRecord:
    """One live stream over all its connections: every event in its place, and the text they make."""

    def __init__(self, task: str, transport: str, expected: str | None) -> None:
        """Follow ``task``, whose chunks must join to ``expected``."""
        self.task = task
        self.transport = transport
        self.last = START
        """The id by which the stream resumes."""
        self.text = ""
        self.final: tuple[EventId, str] | None = None
        self.ended = False
        """Nothing more is expected."""
        self.left = False
        """Its reader went away for good."""
        self.problems: list[str] = []
        self.connections = 0
        self.replaced = 0
        """How often the client was told to drop its text."""
        self._expected = expected
        self._folded_at: EventId | None = None

    def take(self, identifier: EventId, type: str, data: Mapping[str, Any]) -> None:
        """Take one event as it came."""
        if identifier <= self.last:
            again = "repeated" if identifier == self.last else f"out of order, after {self.last}"
            self.problems.append(f"{type} {identifier} {again}")
            return
        if self.final is not None:
            self.problems.append(f"{type} {identifier} after the end, {self.final[0]}")
        if type != EventType.SNAPSHOT and not follows(self.last, identifier):
            self.problems.append(f"{type} {identifier} right after {self.last}: something is missing")
        self._fold(identifier, type, data)
        self.last = identifier
        if type in FINAL:
            self.final = (identifier, type)
            self.ended = True
            self._check_whole(identifier, type)

    def over(self) -> None:
        """Take the word of the gateway that nothing more will come."""
        self.ended = True
        if self.final is None:
            self.problems.append(f"ended after {self.last}, before the end of the task")

    def _fold(self, identifier: EventId, type: str, data: Mapping[str, Any]) -> None:
        if type == EventType.RETRYING:
            self.text = ""
            self.replaced += 1
        elif type == EventType.SNAPSHOT:
            self.text = str(data.get("text", ""))
            self._folded_at = identifier
            self.replaced += 1
        elif type == EventType.CHUNK:
            self.text += str(data.get("text", ""))
        else:
            return
        if self._expected is not None and not self._expected.startswith(self.text):
            self.problems.append(f"with {type} {identifier} the text is {_tail(self.text)}")

    def _check_whole(self, identifier: EventId, type: str) -> None:
        if type != EventType.COMPLETED or self._expected is None or self.text == self._expected:
            return
        # Where the node's events are lost for good, a snapshot of the output comes right before the end, and
        # not every model has its text in there.
        if self._folded_at != (identifier.attempt, identifier.seq - 1):
            self.problems.append(f"completed by {identifier} with the text {_tail(self.text)}")


class OwnerRecord:
    """One stream of the state events of all tasks over all its connections."""

    def __init__(self) -> None:
        """Begin before the first connection."""
        self.cursor: str | None = None
        """The place from which the stream resumes, known once it was subscribed for the first time."""
        self.seen: set[tuple[str, EventId]] = set()
        self.repeated: list[tuple[str, EventId]] = []
        self.connections = 0

    def take(self, task: str, identifier: EventId, cursor: str) -> None:
        """Take one event as it came."""
        event = (task, identifier)
        if event in self.seen:
            self.repeated.append(event)
        self.seen.add(event)
        self.cursor = cursor


@dataclass(slots=True)
class Submission:
    """One submission and what its client was told."""

    work: Work
    task: str | None = None
    """The id, if the client was told that the task is accepted."""
    refused: str | None = None
    """What the gateway said, if it refused; the task must not exist."""
    unknown: str | None = None
    """What went wrong, if the client does not know whether it is accepted."""
    told: End | None = None
    """How the task ended, if the gateway answered with that."""
    cancel_asked: bool = False
    cancel_told: bool = False
    """The gateway said that the task is cancelled."""
    left: bool = False
    """Its client went away while it waited."""
    repeated: list[str] = field(default_factory=list)
    """The ids that it was told when it asked again under the same key."""
    replays: int = 0
    """How often it was told that the dead letter runs again."""
    replays_unknown: int = 0
    """How often it asked for that without learning what came of it."""
    denied: list[str] = field(default_factory=list)
    """What it was refused though it had a right to it."""
    bulk: bool = False
    """One of many in a request."""
    streams: list[StreamRecord] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """Whether the client holds the grid to it."""
        return self.task is not None


def _tail(text: str) -> str:
    return repr(text if len(text) <= 60 else "…" + text[-60:])
