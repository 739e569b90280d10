"""Tasks that end with their readers: those submitted with ``on_disconnect: cancel``.

A reader of a task's events that goes away early may come back, here or at another gateway: it is given some
seconds, and all gateways are asked whether anybody follows the task or waits for it, before it is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from neurogrid.core.background import Background
from neurogrid.events.bus import Bus
from neurogrid.queue.patience import patiently

TOPIC = "readers"
ASK_WITHIN = 1.0
"""Seconds in which a gateway has to say that somebody reads there."""
_ASK, _HERE = b"?", b"!"


class Cancellation(Protocol):
    """Who cancels tasks."""

    async def wanted(self, task: str) -> str | None:
        """Return the owner of an unfinished task that shall not outlive its readers."""

    async def cancel(self, owner: str, task: str, *, patient: bool = False) -> bool:
        """Cancel a task."""


class Desertion:
    """Cancels tasks that nobody reads any more."""

    def __init__(
        self, bus: Bus, cancellation: Cancellation, read_here: Callable[[str], bool], grace: float
    ) -> None:
        """``read_here`` tells whether somebody reads a task or waits for it at this gateway."""
        self._bus = bus
        self._cancellation = cancellation
        self._read_here = read_here
        self._grace = grace
        self._left: dict[str, object] = {}
        self._asked: dict[str, asyncio.Event] = {}
        self._background = Background()

    async def start(self) -> None:
        """Begin to answer other gateways."""
        await self._bus.listen(TOPIC, self._heard)

    async def close(self) -> None:
        """Let the tasks go on whose readers have just left."""
        await self._background.close()

    def left(self, task: str) -> None:
        """Note that a reader went away before the end of a task."""
        self._background.spawn(self._judge(task), "streams.desertion")

    async def _judge(self, task: str) -> None:
        owner = await patiently(lambda: self._cancellation.wanted(task))
        if owner is None:
            return
        this = self._left[task] = object()
        await asyncio.sleep(self._grace)
        if self._left.get(task) is not this:
            return  # another reader left later; that one is judged
        del self._left[task]
        if not await self._is_read(task):
            await self._cancellation.cancel(owner, task, patient=True)

    async def _is_read(self, task: str) -> bool:
        if self._bus.shared and not self._bus.healthy:
            return True  # who reads elsewhere cannot be known; a task too many is better than one lost
        here = self._asked[task] = asyncio.Event()
        try:
            await self._bus.send(TOPIC, _ASK + task.encode())
            async with asyncio.timeout(ASK_WITHIN):
                await here.wait()
        except TimeoutError:
            return False
        finally:
            self._asked.pop(task, None)
        return True

    def _heard(self, payload: bytes) -> None:
        task = payload[1:].decode(errors="replace")
        if payload[:1] == _ASK and self._read_here(task):
            self._background.spawn(self._bus.send(TOPIC, _HERE + payload[1:]), "streams.read_here")
        elif payload[:1] == _HERE and task in self._asked:
            self._asked[task].set()
