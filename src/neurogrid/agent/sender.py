"""The one writer of a connection: what is said first, and in which order."""

from __future__ import annotations

import asyncio
from collections import deque

from neurogrid.agent.attempt import Attempt
from neurogrid.agent.outbox import Outbox
from neurogrid.protocol.frames import ARRAY_BYTES, ARRAY_LENGTH, encode, pack
from neurogrid.protocol.link import Link
from neurogrid.protocol.messages import Execution, Message


class Sender:
    """Sends control messages first, then one event of each attempt in turn, an outcome after its events.

    An attempt's log is its queue, so a ``resend`` is no more than a step back in it, and events leave in
    their order whatever else happens.
    """

    def __init__(self, outbox: Outbox, *, arrays: bool = False) -> None:
        """Send outcomes from ``outbox``, and several messages in a frame if the gateway reads ``arrays``."""
        self._outbox = outbox
        self._length, self._bytes = (ARRAY_LENGTH, ARRAY_BYTES) if arrays else (1, 0)
        self._urgent: deque[bytes] = deque()
        self._ready: dict[Execution, Attempt] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def post(self, message: Message) -> None:
        """Send a control message as soon as possible."""
        self._urgent.append(encode(message))
        self._stir()

    def ready(self, attempt: Attempt) -> None:
        """Send what ``attempt`` has to say, when its turn comes."""
        self._ready[attempt.key] = attempt
        self._stir()

    def drop(self, key: Execution) -> None:
        """Say nothing more about an execution."""
        self._ready.pop(key, None)

    async def flushed(self) -> None:
        """Return once there is nothing left to send."""
        await self._idle.wait()

    async def run(self, link: Link) -> None:
        """Send until cancelled. Raises ``LinkClosed``."""
        while True:
            speakers: list[Attempt] = []
            messages: list[bytes] = []
            size = 0
            while len(messages) < self._length and size <= self._bytes:
                if self._urgent:
                    message = self._urgent.popleft()
                elif self._ready:
                    attempt = self._ready.pop(next(iter(self._ready)))
                    said = attempt.events.take() or await self._outcome(attempt)
                    if said is None or attempt.stopped:
                        continue
                    message = said
                    self._ready[attempt.key] = attempt
                    speakers.append(attempt)
                else:
                    break
                messages.append(message)
                size += len(message)
            for frame in pack(messages):
                await link.send(frame)
            for attempt in speakers:
                attempt.make_room()
            if not messages:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()

    async def _outcome(self, attempt: Attempt) -> bytes | None:
        if not attempt.outcome_due:
            return None
        attempt.outcome_due = False
        return await self._outbox.get(attempt.key)

    def _stir(self) -> None:
        self._idle.clear()
        self._wake.set()
