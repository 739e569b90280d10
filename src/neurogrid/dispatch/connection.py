"""A connected node, as its gateway knows it: slots, running tasks, and their output so far."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import orjson

from neurogrid.protocol.events import Event, EventId, EventType, make_event
from neurogrid.protocol.frames import encode, pack
from neurogrid.protocol.link import Link, LinkClosed
from neurogrid.protocol.messages import FIRST_NODE_SEQ, Error, Hello, Message, ModelSpec, Result, Usage
from neurogrid.queue.answers import Claimed
from neurogrid.queue.ops import SessionRef
from neurogrid.queue.policy import Charges

DEFAULT_SILENCE = 60.0
SEND_WITHIN = 10.0
"""Seconds after which a node that does not take a message counts as gone: nobody waits for it any longer."""
CLOSE_FAILED = 1011
CLOSE_RESTART = 1012
CLOSE_REFUSED = 4400
CLOSE_UNAUTHENTICATED = 4401
CLOSE_FORBIDDEN = 4403
CLOSE_REPLACED = 4409
CLOSE_SESSION_LOST = 4410
MAX_KEPT = 4 * 1024 * 1024
"""Bytes of chunks kept of one running task for snapshots; beyond, only its text is."""


class _Text(msgspec.Struct):
    text: str = ""


_decode_text = msgspec.json.Decoder(_Text).decode


@dataclass(slots=True)
class Running:
    """An attempt in progress on a node of this gateway."""

    task: str
    attempt: int
    owner: str
    lane: str
    model: str
    charges: Charges
    priority: int = 1
    cost: float | None = None
    """What its owner was charged; unknown for an attempt that another gateway began."""
    since: float = field(default_factory=time.monotonic)
    sign_at: float = field(default_factory=time.monotonic)
    last_seq: int = FIRST_NODE_SEQ - 1
    missing: int = 0
    """The event last asked for again."""
    deadline: datetime | None = None
    chunks: int = 0
    """Pieces of output so far."""
    _texts: list[str] = field(default_factory=list)
    _folded: int = 0
    """Bytes of the texts."""
    _pieces: list[bytes] = field(default_factory=list)
    _size: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """The fence."""
        return self.task, self.attempt

    @property
    def usage(self) -> Usage:
        """What a gateway knows of an attempt that is stopped: a token a chunk, and the time since it began."""
        return Usage(completion_tokens=self.chunks, compute_seconds=round(time.monotonic() - self.since, 6))

    def sign(self) -> None:
        """Note a sign of life (R5)."""
        self.sign_at = time.monotonic()

    def add(self, seq: int, data: bytes, *, text: bool) -> None:
        """Take the next event of the node into account."""
        self.last_seq = seq
        self.sign()
        if text:
            self.chunks += 1
            self._pieces.append(data)
            self._size += len(data)
            if self._size > MAX_KEPT:
                self._fold()

    def replace(self, seq: int, text: str) -> None:
        """Take a snapshot of the node as everything so far."""
        self.last_seq, self._texts, self._pieces, self._size = seq, [text], [], 0
        self._folded = len(text.encode())
        self.sign()

    def exceeds(self, most: int) -> bool:
        """Tell whether the text so far has more than ``most`` bytes."""
        if self._folded + self._size > most:  # there is more to a piece than its text
            self._fold()
        return self._folded > most

    def snapshot(self) -> Event:
        """Return everything so far as one event that replaces a client's text."""
        self._fold()
        self._texts = ["".join(self._texts)]
        data = orjson.dumps({"text": self._texts[0]})
        return make_event(self.task, EventId(self.attempt, self.last_seq), EventType.SNAPSHOT, data)

    def _fold(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        text = "".join(_text(piece) for piece in pieces)
        self._texts.append(text)
        self._folded += len(text.encode())


def _text(piece: bytes) -> str:
    try:
        return _decode_text(piece).text
    except msgspec.MsgspecError:  # a chunk of a model that does not speak text
        return ""


class NodeConnection:
    """One attached node. Slots are held by ``reserved`` tickets and by ``running`` tasks."""

    def __init__(
        self,
        link: Link,
        hello: Hello,
        node_id: str,
        session: SessionRef,
        *,
        token: str | None = None,
        cordoned: bool = False,
    ) -> None:
        """Take what the node said of itself; ``token`` is the id of the one it joined by."""
        self.link = link
        self.node_id = node_id
        self.session = session
        self.name = hello.name
        self.slots = hello.slots
        self.labels = hello.labels
        self._arrays = hello.arrays
        self.models: dict[str, ModelSpec] = {spec.name: spec for spec in hello.models}
        self.running: dict[str, Running] = {}
        self.settling: set[tuple[str, int]] = set()
        """Attempts whose end is on its way into the database; their slots are free already."""
        self.orders: list[tuple[Running, Claimed, float]] = []
        """What is about to be sent to the node, each with the moment (monotonic) its claim began."""
        self.ends: list[tuple[Result | Error, Running | None]] = []
        """What just came of the node about the end of attempts."""
        self.token = token
        self.cordoned = cordoned
        """Operators want it to get nothing new."""
        self.leaving = False
        """The node takes nothing new: it drains, by itself or because it was told to."""
        self.drained = False
        """It said that it has nothing in hand any more and is about to close the connection."""
        self.connected = True
        self.left_at: float | None = None
        self.heard_at = time.monotonic()
        self.renewing = False
        self._reserved: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._held = 0

    @property
    def accepting(self) -> bool:
        """Whether it takes new tasks."""
        return self.connected and not self.cordoned and not self.leaving

    @property
    def used(self) -> int:
        """Slots held now."""
        return self._held

    @property
    def load(self) -> float:
        """Share of its slots in use."""
        return self.used / self.slots if self.slots else 1.0

    def free(self, model: str) -> int:
        """Return the free slots for ``model``; 0 when it does not serve it."""
        spec = self.models.get(model)
        if spec is None or not self.accepting:
            return 0
        return max(0, min(self.slots - self.used, spec.slots - self._reserved[model] - self._used[model]))

    def reserve(self, model: str) -> None:
        """Hold a slot for a task that is being inserted or claimed."""
        self._reserved[model] += 1
        self._held += 1

    def unreserve(self, model: str) -> None:
        """Let go of a held slot."""
        self._reserved[model] -= 1
        self._held -= 1

    def begin(self, running: Running) -> None:
        """Turn to running: the task takes a slot, in place of an earlier attempt at it."""
        if (earlier := self.running.get(running.task)) is not None:
            self.end(earlier)
        self.running[running.task] = running
        self._used[running.model] += 1
        self._held += 1

    def end(self, running: Running) -> bool:
        """Free the slot of an attempt; ``False`` if it was free already."""
        if self.running.get(running.task) is not running:
            return False
        del self.running[running.task]
        self._used[running.model] -= 1
        self._held -= 1
        return True

    def silence_allowed(self, model: str) -> float:
        """Return how long a task of ``model`` may stay without a sign of life, in seconds (R5)."""
        spec = self.models.get(model)
        return spec.max_silence if spec is not None else DEFAULT_SILENCE

    def leave(self) -> None:
        """Take nothing more; what runs goes on, under the session's lease (R3)."""
        self.connected = False

    async def hang_up(self, code: int, reason: str) -> None:
        """Leave and close the link, whether or not the node takes part in that."""
        self.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEND_WITHIN):
                await self.link.close(code, reason)

    async def send(self, *batch: Message) -> bool:
        """Send to the node; ``False`` when it is gone."""
        encoded = map(encode, batch)
        try:
            async with asyncio.timeout(SEND_WITHIN):
                for frame in pack(encoded) if self._arrays else encoded:
                    await self.link.send(frame)
        except LinkClosed:
            self.leave()
            return False
        except TimeoutError:
            await self.hang_up(CLOSE_FAILED, "the node does not read")
            return False
        return True
