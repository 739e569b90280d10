"""The one writer of a connection: what is said first, and in which order."""

from __future__ import annotations

import asyncio
from collections import deque

from neurogrid.agent.attempt import Attempt
from neurogrid.agent.outbox import Outbox
from neurogrid.protocol.link import Link
from neurogrid.protocol.messages import Execution, Message, encode


class Sender:
    """Sends control messages first, then one event of each attempt in turn, an outcome after its events.

    An attempt's log is its queue, so a ``resend`` is no more than a step back in it, and events leave in
    their order whatever else happens.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
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
            if self._urgent:
                await link.send(self._urgent.popleft())
            elif self._ready:
                attempt = self._ready.pop(next(iter(self._ready)))
                frame = attempt.events.take() or await self._outcome(attempt)
                if frame is None or attempt.stopped:
                    continue
                self._ready[attempt.key] = attempt
                await link.send(frame)
                attempt.make_room()
            else:
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
