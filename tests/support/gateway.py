"""A whole gateway for integration tests: real HTTP and WebSockets, a node in its process, a real database."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from neurogrid.agent.agent import Agent
from neurogrid.agent.connect import Backoff, Connect
from neurogrid.app import create_app
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.service import AuthService
from neurogrid.core.db import Database
from neurogrid.core.http.websockets import BoundedWebSocket
from neurogrid.core.ids import new_id
from neurogrid.core.settings import Settings
from neurogrid.runners.base import Emit, Output, Runner
from neurogrid.runners.debug import DebugEcho, DebugFail, DebugSleep
from neurogrid.runners.text_generation import SmolLM2
from tests.support.limits import GENEROUS
from tests.support.node import Puppet
from tests.support.plain import NOBODY
from tests.support.until import PATIENCE, until


class Parrot:
    """Has the contract of the default model and none of its weight: says the prompt in chunks of words."""

    spec = SmolLM2().spec

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        text = input if isinstance(input, str) else input["messages"][-1]["content"]
        for word in text.split(" "):
            await emit.chunk({"text": f"{word} "})
        return Output({"text": f"{text} ", "finish_reason": "stop"})


@dataclass
class Account:
    """A user with a key, and a client that sends it."""

    id: str
    email: str
    key: str
    http: httpx.AsyncClient

    async def submit(self, model: str, input: Any = "hi", **fields: Any) -> str:
        """Submit a task and return its id."""
        answer = await self.http.post("/v1/tasks", json={"model": model, "input": input, **fields})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        task: str = answer.json()["id"]
        return task

    async def task(self, id: str) -> Any:
        """Return a task as the API shows it."""
        answer = await self.http.get(f"/v1/tasks/{id}")
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    async def reaches(self, id: str, *statuses: str) -> Any:
        """Wait until a task has one of ``statuses`` and return it."""

        async def there() -> Any:
            task = await self.task(id)
            return task if task["status"] in statuses else None

        return await until(there, what=f"task {id} is {' or '.join(statuses)}")


@dataclass
class RunningGateway:
    """A gateway that serves on ``url``; ``puppet`` is a model that finishes when its test says ``go``."""

    app: FastAPI
    url: str
    database: Database
    puppet: Puppet
    stack: AsyncExitStack
    auth: AuthService = field(init=False)

    def __post_init__(self) -> None:
        # Not the gateway's own: what is revoked here, the gateway learns from the database alone.
        self.auth = AuthService(self.database)

    async def client(self, key: str | None = None) -> httpx.AsyncClient:
        """Return a client that sends ``key``."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False, verify=NOBODY
        )
        return await self.stack.enter_async_context(client)

    async def account(
        self, role: Role = Role.USER, lifetime: timedelta | None = None, tier: Tier = Tier.PRO
    ) -> Account:
        """Make a user with a key."""
        email = f"{new_id()}@example.org"
        user = await self.auth.create_user(email, role, tier, None)
        key = await self.auth.create_key(email, "test", lifetime)
        return Account(user, email, key, await self.client(key))


@asynccontextmanager
async def node(connect: Connect, runners: Sequence[Runner], name: str = "node") -> AsyncIterator[None]:
    """Attach a node as long as the block."""
    agent = Agent(name, "1.0", runners, slots=64, connect=connect, backoff=Backoff(0.01, 0.05))
    run = asyncio.create_task(agent.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await agent.connected.wait()
        yield
    finally:
        run.cancel()
        await asyncio.wait({run})


def settings_for(database_url: str, **options: Any) -> Settings:
    """Return settings that read no file and no environment but ``options``; limits are generous unless given."""
    options.setdefault("limits", GENEROUS)
    return Settings(_env_file=None, database_url=SecretStr(database_url), **options)


@asynccontextmanager
async def running(
    database_url: str, *, nodes: bool = True, puppet: Puppet | None = None, **options: Any
) -> AsyncIterator[RunningGateway]:
    """Run a gateway on ``database_url`` with settings ``options``, by default with a node."""
    puppet = puppet or Puppet(slots=2)
    runners: list[Runner] = [Parrot(), DebugEcho(), DebugSleep(), DebugFail(), puppet]

    def companion(connect: Connect) -> AbstractAsyncContextManager[None]:
        return node(connect, runners)

    app = create_app(settings_for(database_url, **options), companion if nodes else None)
    database = Database(database_url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        url = await stack.enter_async_context(_serving(app))
        yield RunningGateway(app, url, database, puppet, stack)


class _Server(uvicorn.Server):
    """A server that leaves the signals of the test run alone, and its process when it cannot start."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            msg = "the gateway did not start; its log says why"
            raise RuntimeError(msg) from None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _serving(app: FastAPI) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # as the `serve` command has it
        lifespan="on",
        ws=BoundedWebSocket,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve = asyncio.create_task(server.serve([listener]))
        try:
            await until(lambda: server.started or serve.done(), what="the server has started")
            if serve.done():
                serve.result()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serve


Start = Callable[..., Any]
"""``await start(**options)`` returns a ``RunningGateway`` that ends with the test."""
