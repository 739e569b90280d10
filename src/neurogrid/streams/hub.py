"""Between the bus and the connections of one gateway: who follows what, and that nobody misses anything."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from neurogrid.auth.policy import Identity
from neurogrid.core.errors import NotFound
from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus, Subscription
from neurogrid.protocol.events import START, EventId
from neurogrid.streams.admin import AUDIT_EVERY, AdminFeed
from neurogrid.streams.connection import Connection
from neurogrid.streams.feed import Feed
from neurogrid.streams.frames import Render, channel_event
from neurogrid.streams.outlet import GOING_AWAY, TOO_MANY, TOO_SLOW, UNAUTHENTICATED, Outlet
from neurogrid.streams.owners import OwnerFeed
from neurogrid.streams.records import TaskRecords

log = structlog.get_logger(__name__)

Recheck = Callable[[Iterable[Identity]], Awaitable[set[Identity]]]
"""Given identities, returns those that still hold, by one query (R28)."""
Stats = Callable[[], Awaitable[dict[str, Any]]]
"""Returns what the ``stats`` channel says."""

_TASK = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RECHECK_EVERY = 5.0
TICK = 1.0
"""Seconds between retries of subscribers that wait for a snapshot or for the database."""
CLOSE_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Figures of this gateway since its start; the first three are of now."""

    connections: int
    subscriptions: int
    tasks_followed: int
    messages_sent: int
    closed_slow: int


class Hub:
    """Serves the live connections of this gateway."""

    def __init__(
        self,
        bus: Bus,
        records: TaskRecords,
        live: LiveSettings,
        *,
        recheck: Recheck,
        stats: Stats,
        resumes: bool = True,
    ) -> None:
        self.live = live
        self._bus = bus
        self._records = records
        self._recheck = recheck
        self._stats = stats
        self._resumes = resumes
        self._connections: set[Connection] = set()
        self._by_user: Counter[str] = Counter()
        self._feeds: dict[str, Feed] = {}
        self._owners: dict[str, OwnerFeed] = {}
        self._broadcast: dict[str, set[Outlet]] = {"system": set(), "stats": set()}
        self.admin = AdminFeed(bus)
        self._tasks: set[asyncio.Task[None]] = set()
        self._system: Subscription | None = None
        self._empty = asyncio.Event()
        self._sent = 0
        self._slow = 0
        self.closing = False
        self.on_left: Callable[[str], None] | None = None
        """Called with a task whose reader over SSE went away before its end."""

    @property
    def statistics(self) -> HubStatistics:
        """What this hub does now and has done."""
        return HubStatistics(
            connections=len(self._connections),
            subscriptions=sum(len(connection.leave) for connection in self._connections),
            tasks_followed=len(self._feeds),
            messages_sent=self._sent + sum(connection.outlet.sent for connection in self._connections),
            closed_slow=self._slow,
        )

    async def start(self) -> None:
        """Begin to serve."""
        self._system = await self._bus.listen("system", self._announce)
        await self.admin.start()
        for interval, work in (
            (lambda: TICK, self._retry_waiting),
            (self._poll_interval, self._look_for_lost_states),
            (lambda: RECHECK_EVERY, self._recheck_identities),
            (lambda: self.live.stats_interval, self._publish_stats),
            (lambda: AUDIT_EVERY, self.admin.look_at_audit),
        ):
            self._spawn(self._every(interval, work))

    def stop_accepting(self) -> None:
        """Ask every client to go elsewhere (1012). Quick, so that a signal handler can call it: the server waits for
        open streams before it shuts down the application.
        """
        self.closing = True
        for connection in self._connections:
            connection.outlet.close(GOING_AWAY)

    async def shutdown(self) -> None:
        """Close all connections with 1012, wait a little until they are gone, and stop."""
        self.stop_accepting()
        if self._connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self._empty.wait()
        if self._system is not None:
            await self._system.close()
            await self.admin.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def connect(self, capacity: int | None = None) -> Connection:
        """Admit a client, which has yet to authenticate."""
        connection = Connection(Outlet(capacity or self.live.buffer), self._spawn)
        self._connections.add(connection)
        if self.closing:
            connection.outlet.close(GOING_AWAY)
        return connection

    def authenticated(self, connection: Connection, identity: Identity) -> None:
        """Note who a client is, also when it renews its credentials; closes when there are too many of them."""
        if connection.identity is not None:
            self._by_user[connection.identity.user_id] -= 1
        connection.identity = identity
        self._by_user[identity.user_id] += 1
        if self._by_user[identity.user_id] > self.live.connections_per_user:
            connection.outlet.close(TOO_MANY)

    def disconnect(self, connection: Connection) -> None:
        """Forget a client."""
        for leave in connection.leave.values():
            leave()
        connection.leave.clear()
        self._connections.discard(connection)
        self._sent += connection.outlet.sent
        self._slow += connection.outlet.closing is TOO_SLOW
        if connection.identity is not None:
            user = connection.identity.user_id
            self._by_user[user] -= 1
            if not self._by_user[user]:
                del self._by_user[user]
        if not self._connections:
            self._empty.set()

    async def check_owner(self, identity: Identity, task_id: str) -> None:
        """Raise ``NotFound`` unless the task exists and may be seen; which of the two stays unsaid."""
        owner = await self._records.owner_of(task_id) if _TASK.fullmatch(task_id) else None
        if owner is None or owner != identity.user_id:
            raise NotFound("There is no such task.")

    async def is_over(self, task_id: str, after: EventId) -> bool:
        """Tell whether nothing will come after ``after``, for all one can know now."""
        newest = await self._records.newest_states([task_id])
        return any(event.final and event.id <= after for event in newest)

    def follows(self, task_id: str) -> bool:
        """Tell whether anybody follows the task here."""
        return task_id in self._feeds

    def left(self, task_id: str) -> None:
        """Note that a reader of a task went away before its end."""
        if self.on_left is not None and not self.closing:
            self.on_left(task_id)

    def follow_task(self, connection: Connection, task_id: str, after: EventId, render: Render) -> None:
        """Serve a task's events from after ``after``; the caller has checked that they may be seen."""
        feed = self._feeds.get(task_id)
        if feed is None:
            feed = self._feeds[task_id] = Feed(task_id, self._bus, self._records, self._spawn)
        member = feed.join(connection, render, after if self._resumes else START)

        def leave() -> None:
            feed.leave(member)
            if not feed.members:
                self._feeds.pop(task_id, None)

        connection.leave[f"task:{task_id}"] = leave

    async def tasks_cursor(self, owner: str, after: str | None) -> str:
        """Return the cursor at which to begin: ``after`` if it is one, else now. Raises ``BadRequest``."""
        _, now = await self._records.owner_events(owner, after, 1)
        return now if after is None else after

    def follow_owner(self, connection: Connection, owner: str, cursor: str) -> None:
        """Serve the state events of all tasks of an owner from after ``cursor``."""
        feed = self._owners.get(owner)
        if feed is None:
            feed = self._owners[owner] = OwnerFeed(owner, self._bus, self._records, self.live)
            member = feed.join(connection.outlet, cursor)
            self._spawn(feed.run())
        else:
            member = feed.join(connection.outlet, cursor)

        def leave() -> None:
            feed.leave(member)
            if not feed.members:
                self._owners.pop(owner, None)

        connection.leave["tasks"] = leave

    def follow_broadcast(self, connection: Connection, channel: str) -> None:
        """Serve ``system`` or ``stats`` from now on."""
        self._broadcast[channel].add(connection.outlet)
        connection.leave[channel] = lambda: self._broadcast[channel].discard(connection.outlet)

    def _announce(self, payload: bytes) -> None:
        self._send_to_all("system", payload)

    def _send_to_all(self, channel: str, payload: bytes) -> None:
        frame = channel_event(channel, payload)
        for outlet in self._broadcast[channel]:
            outlet.offer(frame)

    def _poll_interval(self) -> float:
        alone = self._bus.shared and not self._bus.healthy
        return self.live.waiter_poll_alone if alone else self.live.waiter_poll

    async def _retry_waiting(self) -> None:
        now = asyncio.get_running_loop().time()
        for feed in list(self._feeds.values()):
            for member in feed.members:
                if member.waiting and now - member.since >= TICK / 2:
                    feed.retry(member)

    async def _look_for_lost_states(self) -> None:
        quiet = [feed.task for feed in self._feeds.values() if feed.quiet]
        for feed in self._feeds.values():
            if feed.quiet and feed.follows:
                feed.recheck()
            feed.quiet = True
        for event in await self._records.newest_states(quiet) if quiet else []:
            feed_now = self._feeds.get(event.task)
            if feed_now is not None:
                feed_now.fall_behind(event.id)

    async def _recheck_identities(self) -> None:
        held = {connection.identity for connection in self._connections if connection.identity is not None}
        if not held:
            return
        valid = await self._recheck(held)
        for connection in self._connections:
            if connection.identity in held - valid:
                connection.outlet.close(UNAUTHENTICATED)

    async def _publish_stats(self) -> None:
        if self._broadcast["stats"]:
            self._send_to_all("stats", msgspec.json.encode(await self._stats()))

    async def _every(self, interval: Callable[[], float], work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval())
            try:
                await work()
            except Exception:
                log.warning("hub_work_failed", work=work.__name__, exc_info=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("hub_task_failed", exc_info=error)
