"""The connection that listens to Redis: which channels are wanted, which are confirmed, what arrives."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

CHECK_EVERY = 1.0
"""Seconds between pings, by which a connection that died in silence is noticed."""
_READY_WITHIN = 5.0
_CHANNELS_A_COMMAND = 500


class Subscriber:
    """Keeps one pub/sub connection subscribed to the channels wanted.

    ``run`` serves one connection and raises when it is lost; it is then called again. Channels may be wanted
    at any time, whether or not there is a connection. Changes of one loop turn travel in one command.
    """

    def __init__(self, client: Redis, on_message: Callable[[str, bytes], None]) -> None:
        self._client = client
        self._on_message = on_message
        self._wanted: Counter[str] = Counter()
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._sent: set[str] = set()
        # SUBSCRIBEs not confirmed yet: after a quick unsubscribe and subscribe only the second one counts.
        self._unconfirmed: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._pong_due = False

    def want(self, channel: str) -> None:
        """Count one more listener of ``channel``."""
        self._wanted[channel] += 1
        self._change(channel)

    def unwant(self, channel: str) -> None:
        """Count one listener less; the last one unsubscribes."""
        self._wanted[channel] -= 1
        if not self._wanted[channel]:
            del self._wanted[channel]
            self._change(channel)

    def confirmed(self, channel: str) -> asyncio.Future[None]:
        """Return a future, shared by all who ask, that is done once Redis has confirmed the subscription."""
        future = self._waiting.get(channel)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            if channel in self._sent and not self._unconfirmed[channel]:
                future.set_result(None)
            else:
                self._waiting[channel] = future
        return future

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve one connection; ``on_ready`` is called when all wanted channels are subscribed.

        Raises ``RedisError``, ``OSError`` or ``TimeoutError`` (in a group) when the connection is lost.
        """
        self._sent.clear()
        self._unconfirmed.clear()
        self._pong_due = False
        self._changed = set(self._wanted)
        pubsub = self._client.pubsub()
        try:
            await pubsub.connect()  # type: ignore[no-untyped-call]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(pubsub))
                async with asyncio.timeout(_READY_WITHIN):
                    while self._changed:
                        await self._apply(pubsub)
                        await self._all_confirmed()
                on_ready()
                while True:
                    await self._tend(pubsub)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    def _change(self, channel: str) -> None:
        self._changed.add(channel)
        self._wake.set()

    async def _all_confirmed(self) -> None:
        # `wait` and not `gather`: others wait for the same futures, which must outlive this connection.
        futures = [self.confirmed(channel) for channel in self._sent]
        if futures:
            await asyncio.wait(futures)

    async def _tend(self, pubsub: PubSub) -> None:
        try:
            async with asyncio.timeout(CHECK_EVERY):
                await self._wake.wait()
        except TimeoutError:
            if self._pong_due:
                raise RedisConnectionError("Redis left a ping unanswered") from None
            self._pong_due = True
            await pubsub.ping()
            return
        await self._apply(pubsub)

    async def _apply(self, pubsub: PubSub) -> None:
        self._wake.clear()
        changed, self._changed = self._changed, set()
        gone = [channel for channel in changed if channel in self._sent and not self._wanted[channel]]
        new = [channel for channel in changed if channel not in self._sent and self._wanted[channel]]
        self._sent.difference_update(gone)
        self._sent.update(new)
        self._unconfirmed.update(new)
        for some in _chunks(gone):
            await pubsub.unsubscribe(*some)
        for some in _chunks(new):
            await pubsub.subscribe(*some)

    async def _read(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(timeout=None)
            if message is None:
                continue
            match message["type"]:
                case "message":
                    self._on_message(message["channel"].decode(), message["data"])
                case "subscribe":
                    self._confirm(message["channel"].decode())
                case "pong":
                    self._pong_due = False

    def _confirm(self, channel: str) -> None:
        self._unconfirmed[channel] -= 1
        if self._unconfirmed[channel] > 0:
            return
        del self._unconfirmed[channel]
        future = self._waiting.pop(channel, None)
        if future is not None and not future.done():
            future.set_result(None)


def _chunks(channels: list[str]) -> Iterable[list[str]]:
    for start in range(0, len(channels), _CHANNELS_A_COMMAND):
        yield channels[start : start + _CHANNELS_A_COMMAND]
