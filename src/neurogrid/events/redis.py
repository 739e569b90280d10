"""The bus over Redis: what ``MemoryBus`` does, and the same for all gateways while Redis is there.

Local followers are fed at publish, whether or not Redis answers; what comes back through Redis carries the
origin of its sender, so that nobody hears themselves. Redis counts as away from the first error, or from
``live.redis_timeout`` without an answer, until a new connection has everything subscribed; then all followers
are told to read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from neurogrid.core.settings import LiveSettings
from neurogrid.events.listeners import Listening
from neurogrid.events.memory import MemoryBus
from neurogrid.events.outbox import Outbox
from neurogrid.events.script import Appender, Names, is_lone, together
from neurogrid.events.stream import Outcome
from neurogrid.events.subscriber import Subscriber
from neurogrid.protocol.events import Event, EventId, EventType, parse_event

log = structlog.get_logger(__name__)

AWAY = (RedisError, OSError, TimeoutError)
PROBE_EVERY = 0.5
"""Seconds between attempts to reach a Redis that is away."""
START_WITHIN = 1.0
CLOSE_WITHIN = 1.0
READS_AT_ONCE = 32
_ORIGIN_BYTES = 8


class RedisBus:
    """``Bus`` for several gateways."""

    shared = True

    def __init__(self, url: str, live: LiveSettings, prefix: str = "ng:") -> None:
        self._live = live
        self._local = MemoryBus(live)
        self._names = Names(prefix)
        self._origin = os.urandom(_ORIGIN_BYTES)
        self._client: Redis = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=live.redis_timeout,
            socket_connect_timeout=live.redis_timeout,
            retry=Retry(NoBackoff(), 0),
        )
        self._appender = Appender(self._client, live, self._names, self._origin)
        self._subscriber = Subscriber(self._client, self._receive)
        self._subscriber.want(self._names.lone)
        self._outbox = Outbox()
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._healthy = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def snapshots(self) -> Callable[[str], Event | None] | None:
        """Asked for folded text when a stream has a hole; see ``Bus``."""
        return self._local.snapshots

    @snapshots.setter
    def snapshots(self, source: Callable[[str], Event | None] | None) -> None:
        self._local.snapshots = source

    @property
    def healthy(self) -> bool:
        """Whether Redis answers and every channel is subscribed."""
        return self._healthy.is_set()

    async def start(self) -> None:
        """Connect; when Redis is away, begin without it and go on trying."""
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name="events-redis")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_WITHIN):
                    await self._healthy.wait()

    async def close(self) -> None:
        """Send what waits, for at most a second, and disconnect."""
        if self._supervisor is None:
            return
        if self.healthy:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self._outbox.drained()
        supervisor, self._supervisor = self._supervisor, None
        supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervisor
        self._healthy.clear()
        await self._client.aclose()
        await self._local.close()

    def publish(self, event: Event) -> None:
        """Feed local followers now, Redis in the next round trip; drop for Redis what it is too late for."""
        self._local.publish(event)
        if self.healthy:
            self._outbox.add_event(event)

    async def history(self, task_id: str, after: EventId) -> list[Event]:
        """Join what Redis and this process keep. A snapshot wins over the event whose id it bears, since it needs
        none of those before it.
        """
        by_id = {event.id: event for event in await self._local.history(task_id, after)}
        for event in await self._remote_history(task_id, after):
            if event.type is EventType.SNAPSHOT or event.id not in by_id:
                by_id[event.id] = event
        return [by_id[id] for id in sorted(by_id)]

    async def follow(
        self, task_id: str, on_event: Callable[[Event], None], on_reset: Callable[[], None]
    ) -> Listening:
        """Follow a task here and, while Redis is there, on all gateways."""
        local = await self._local.follow(task_id, on_event, on_reset)
        return await self._subscribe(self._names.events(task_id), local, on_reset)

    async def send(self, topic: str, payload: bytes) -> None:
        """Hand out locally now, elsewhere in the next round trip."""
        self._local.hand_out(topic, payload)
        if self.healthy:
            self._outbox.add_message(topic, payload)

    async def listen(self, topic: str, callback: Callable[[bytes], None]) -> Listening:
        """Listen to a topic here and, while Redis is there, on all gateways."""
        local = await self._local.listen(topic, callback)
        return await self._subscribe(self._names.topic(topic), local, lambda: None)

    async def _subscribe(self, channel: str, local: Listening, on_late: Callable[[], None]) -> Listening:
        self._subscriber.want(channel)

        async def release() -> None:
            self._subscriber.unwant(channel)
            await local.close()

        listening = Listening(release)
        if self.healthy:
            confirmed = self._subscriber.confirmed(channel)
            try:
                await asyncio.wait({confirmed}, timeout=self._live.redis_timeout)
            except asyncio.CancelledError:
                await listening.close()
                raise
            if not confirmed.done():
                confirmed.add_done_callback(lambda _: on_late())
        return listening

    async def _remote_history(self, task_id: str, after: EventId) -> list[Event]:
        if not self.healthy:
            return []
        try:
            async with self._reads:
                found = await self._client.xrange(self._names.stream(task_id), min=f"({after}")
        except AWAY as error:
            log.warning("redis_history_failed", error=str(error))
            return []
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
        return [parse_event(fields[b"e"]) for _, fields in entries]

    def _receive(self, channel: str, data: bytes) -> None:
        if data.startswith(self._origin):
            return
        payload = data[_ORIGIN_BYTES:]
        if channel == self._names.lone:
            self._receive_together(payload)
            return
        task_id = self._names.task_of(channel)
        if task_id is None:
            self._local.hand_out(self._names.topic_of(channel), payload)
            return
        self._deliver(channel, payload)

    def _receive_together(self, payload: bytes) -> None:
        try:
            events = together(payload)
        except ValueError as error:
            log.warning("foreign_event", channel=self._names.lone, error=str(error))
            return
        for task_id, envelope in events:
            if self._local.is_followed(task_id):
                self._deliver(self._names.lone, envelope)

    def _deliver(self, channel: str, envelope: bytes) -> None:
        try:
            event = parse_event(envelope)
        except ValueError as error:
            log.warning("foreign_event", channel=channel, error=str(error))
            return
        self._local.deliver(event)

    async def _supervise(self) -> None:
        while True:
            # In a task of its own: a failed TaskGroup can leave its task marked as being cancelled, and before
            # Python 3.11.3 a time-out in such a task cancels it.
            session = asyncio.create_task(self._session(), name="events-redis-session")
            try:
                await session
            except* AWAY as group:
                log.warning("redis_away", error=_reason(group))
            except* Exception:
                log.exception("redis_session_failed")
            self._healthy.clear()
            self._outbox.clear()
            await asyncio.sleep(PROBE_EVERY)

    async def _session(self) -> None:
        await self._client.ping()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._subscriber.run(self._ready))
            group.create_task(self._write())

    def _ready(self) -> None:
        log.info("redis_connected")
        self._healthy.set()
        for task_id in self._local.followed():
            self._local.reset(task_id)

    async def _write(self) -> None:
        await self._healthy.wait()
        while True:
            events, messages = await self._outbox.take()
            lone: list[Event] = []
            others: list[Event] = []
            for event in events:
                (lone if is_lone(event) else others).append(event)
            outcomes = await self._appender.send(others, messages, lone)
            for task_id in {event.task for event, outcome in outcomes if outcome is Outcome.GAP}:
                self._fill(task_id)

    def _fill(self, task_id: str) -> None:
        snapshot = self._local.snapshot(task_id)
        if snapshot is not None:
            # Before what waits: events folded into it become duplicates, later ones follow it.
            self._outbox.add_event(snapshot, first=True)
            self._local.deliver(snapshot)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
