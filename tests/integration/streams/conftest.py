"""A real server with the live routes, on a real bus, with rows that are plain lists."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from neurogrid.auth.policy import Identity, Role, Tier
from neurogrid.core.errors import BadRequest, Unauthenticated
from neurogrid.core.http import problems
from neurogrid.core.http.websockets import BoundedWebSocket
from neurogrid.core.settings import LiveSettings
from neurogrid.events.bus import Bus
from neurogrid.events.memory import MemoryBus
from neurogrid.events.stream import NODE_EVENTS
from neurogrid.protocol.events import Event, EventId
from neurogrid.streams.hub import Hub
from neurogrid.streams.router import router
from tests.support.limits import unlimited

KEYS = {
    "alice-key": Identity("alice", "1", Role.USER, Tier.FREE),
    "bob-key": Identity("bob", "2", Role.USER, Tier.FREE),
    "admin-key": Identity("root", "3", Role.ADMIN, Tier.UNLIMITED),
}


@dataclass
class Accounts:
    """Knows the keys above, less those revoked."""

    revoked: set[str] = field(default_factory=set)

    async def identify(self, token: str) -> Identity:
        if token not in KEYS or token in self.revoked:
            raise Unauthenticated("The API key is not valid.")
        return KEYS[token]

    async def recheck(self, identities: Iterable[Identity]) -> set[Identity]:
        return set(identities) - {KEYS[token] for token in self.revoked}


@dataclass
class Rows:
    """``TaskRecords`` over lists."""

    owners: dict[str, str] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    log: list[Event] = field(default_factory=list)
    text: str = ""

    async def owner_of(self, task_id: str) -> str | None:
        return self.owners.get(task_id)

    async def leader_of(self, task_id: str) -> str | None:
        return None

    async def state_events(self, task_id: str, after: EventId) -> list[Event]:
        return [event for event in self.events.get(task_id, []) if event.id > after]

    async def final_text(self, task_id: str) -> tuple[EventId, str] | None:
        events = self.events.get(task_id, [])
        return (events[-1].id, self.text) if events and events[-1].final else None

    async def newest_states(self, task_ids: Sequence[str]) -> list[Event]:
        return [self.events[task][-1] for task in task_ids if self.events.get(task)]

    async def owner_events(
        self, owner_id: str, cursor: str | None, limit: int
    ) -> tuple[list[tuple[str, Event]], str]:
        if cursor is None:
            return [], str(len(self.log))
        if not cursor.isdigit():
            raise BadRequest("That is no cursor of `tasks`.")
        begin = int(cursor)
        found = [(str(begin + i + 1), event) for i, event in enumerate(self.log[begin : begin + limit])]
        found = [(place, event) for place, event in found if self.owners[event.task] == owner_id]
        return found, str(min(begin + limit, len(self.log)))


@dataclass
class Gateway:
    """The server under test and what it stands on."""

    port: int
    hub: Hub
    bus: Bus
    rows: Rows
    accounts: Accounts
    server: uvicorn.Server

    @property
    def websocket(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def happen(self, *events: Event) -> None:
        """Commit the state events, then publish all, as the grid does."""
        for event in events:
            if event.type not in NODE_EVENTS:
                self.rows.events.setdefault(event.task, []).append(event)
                self.rows.log.append(event)
            self.bus.publish(event)
            owner = self.rows.owners[event.task]
            await self.bus.send(f"owner:{owner}", b"")


async def no_stats() -> dict[str, Any]:
    return {"tasks": {"running": 1}}


@contextlib.asynccontextmanager
async def running_gateway(live: LiveSettings) -> AsyncIterator[Gateway]:
    """Run a gateway with these settings."""
    rows, accounts, bus = Rows(), Accounts(), MemoryBus(live)
    hub = Hub(bus, rows, live, recheck=accounts.recheck, stats=no_stats)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await hub.start()
        yield {"hub": hub, "auth": accounts, "limits": unlimited()}
        await hub.shutdown()

    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    problems.install(app)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        ws=BoundedWebSocket,
        log_level="error",
        ws_ping_interval=live.heartbeat,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    # As the `serve` command does: open streams end when the server is told to stop.
    serving = asyncio.create_task(server.serve([listening]))
    try:
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        yield Gateway(listening.getsockname()[1], hub, bus, rows, accounts, server)
    finally:
        hub.stop_accepting()
        server.should_exit = True
        await serving
        listening.close()


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that is quick to lose patience."""
    live = LiveSettings(authenticate_within=0.5, stats_interval=0.1, max_subscriptions=5, waiter_poll=0.2)
    async with running_gateway(live) as running:
        yield running
