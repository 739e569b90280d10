"""One drill, from bringing up the grid to the report."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from neurogrid.client.asynchronous import AsyncClient
from neurogrid.drill.bulk import BulkClient
from neurogrid.drill.grid import Grid
from neurogrid.drill.harm.fate import Fate
from neurogrid.drill.harm.plan import EVERYTHING, Deck, Family, schedule
from neurogrid.drill.harm.scene import Scene, Tell
from neurogrid.drill.load import RETRIES, TIMEOUT, Load
from neurogrid.drill.patience import until
from neurogrid.drill.records import OwnerRecord
from neurogrid.drill.report import Report
from neurogrid.drill.rows import Rows
from neurogrid.drill.streams import Followers
from neurogrid.drill.verdict import judge

STREAMS_WITHIN = 20.0
"""Seconds after that within which every stream has to say so."""
LOOK_EVERY = 0.5
OWNER_STREAMS = 2
"""Clients that follow all tasks at once."""
SUBSCRIBED_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to drill. ``seconds`` is how long misfortunes happen, ``rate`` how many tasks a second are submitted.

    ``environment`` goes to the gateways.
    """

    directory: Path
    seed: int
    seconds: float
    gateways: int = 2
    nodes: int = 3
    rate: float = 25.0
    settle: float = 90.0
    """Seconds after the last misfortune within which every task has to be over."""
    deck: Deck = field(default_factory=lambda: EVERYTHING)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a drill is. ``live`` is how many tasks are not over, ``None`` when the database does not say."""

    phase: str
    seconds: float
    submitted: int = 0
    accepted: int = 0
    live: int | None = None
    streams: int = 0
    kills: int = 0
    pauses: int = 0


Watch = Callable[[Progress], None]


class Exercise:
    """Runs one drill. ``watch`` sees how it goes, ``tell`` hears of each misfortune."""

    def __init__(self, order: Order, watch: Watch, tell: Tell) -> None:
        self._order = order
        self._watch = watch
        self._grid = Grid(order.directory, order.gateways, order.nodes, order.environment)
        self._choose = random.Random(f"{order.seed}:fate")  # noqa: S311  the drill must be repeatable
        self._scene = Scene(self._grid, self._choose, tell)
        self._fate = Fate(self._scene)
        database = self._grid.database
        self._rows = Rows(str(database.socket.parent), database.user)
        self._owners = [OwnerRecord() for _ in range(OWNER_STREAMS)]
        self._begun = time.monotonic()

    async def run(self) -> Report:
        """Run it. Raises ``GridFailed``, ``ServerFailed``."""
        self._watch(Progress("bringing up the grid", 0.0))
        try:
            await self._grid.start()
            async with self._clients() as (clients, bulk, followers):
                load = Load(self._order.seed, clients, bulk, followers, self._order.rate)
                await self._drill(load, followers)
                return await self._report(load)
        finally:
            await self._grid.close()

    async def _drill(self, load: Load, followers: Followers) -> None:
        watching = asyncio.ensure_future(self._keep_watching(load, followers))
        owners = [asyncio.ensure_future(followers.follow_all(one, self._choose)) for one in self._owners]
        await until(self._owners_subscribed, SUBSCRIBED_WITHIN, LOOK_EVERY)
        running = asyncio.ensure_future(load.run())
        try:
            self._scene.begun = time.monotonic()
            await self._fate.run(schedule(self._order.seed, self._order.seconds, self._order.deck))
            await asyncio.sleep(self._order.seconds - self._scene.clock)
            load.stop()
            followers.calm = True
            await self._fate.mend()
            await self._settle(load, running)
        finally:
            await _end(running, watching, *owners)

    async def _settle(self, load: Load, running: asyncio.Future[None]) -> None:
        """Wait until every task is over and every client knows, as long as that may take."""

        async def over() -> bool:
            return not load.busy and await self._live() == 0

        async def told() -> bool:
            events = {(event.task, event.id) for event in await self._rows.events()}
            return running.done() and all(events <= owner.seen for owner in self._owners)

        await until(over, self._order.settle, LOOK_EVERY)
        await until(told, STREAMS_WITHIN, LOOK_EVERY)

    async def _owners_subscribed(self) -> bool:
        return all(owner.cursor is not None for owner in self._owners)

    async def _report(self, load: Load) -> Report:
        tasks = await self._rows.tasks()
        happened = {kind.value: number for kind, number in self._fate.happened.items()}
        return Report(
            seed=self._order.seed,
            seconds=time.monotonic() - self._begun,
            verdict=judge(
                load.submissions,
                tasks,
                await self._rows.events(),
                self._owners,
                await self._rows.charges(),
            ),
            submissions=load.submissions,
            owners=self._owners,
            existing=frozenset(row.number for row in tasks),
            kills=self._fate.count(Family.KILL),
            pauses=self._fate.count(Family.PAUSE),
            cuts=self._fate.count(Family.CUT),
            orders=self._fate.count(Family.ORDER),
            misfortunes=happened,
            complaints=self._scene.complaints,
            logs=str(self._order.directory),
        )

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[tuple[list[AsyncClient], BulkClient, Followers]]:
        urls = [gateway.url for gateway in self._grid.gateways]
        key = self._grid.api_key
        async with contextlib.AsyncExitStack() as stack:
            limits = httpx.Limits(max_connections=None)
            http = await stack.enter_async_context(httpx.AsyncClient(limits=limits, trust_env=False))
            clients = [
                await stack.enter_async_context(AsyncClient(url, key, timeout=TIMEOUT, retries=RETRIES))
                for url in urls
            ]
            yield clients, BulkClient(urls, http, key), Followers(urls, http, key)

    async def _keep_watching(self, load: Load, followers: Followers) -> None:
        while True:
            self._scene.supervise()
            phase = "settling" if followers.calm else "drilling"
            self._watch(
                Progress(
                    phase,
                    self._scene.clock,
                    submitted=len(load.submissions),
                    accepted=sum(one.accepted for one in load.submissions),
                    live=await self._live(),
                    streams=followers.open,
                    kills=self._fate.count(Family.KILL),
                    pauses=self._fate.count(Family.PAUSE),
                )
            )
            await asyncio.sleep(LOOK_EVERY)

    async def _live(self) -> int | None:
        try:
            return await self._rows.live()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None


async def _end(*tasks: asyncio.Future[None]) -> None:
    """Cancel what still runs, and raise what failed."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
