"""Nodes that do what their test says, on real gateways without HTTP, over a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec
import orjson
from pydantic import SecretStr

from neurogrid.auth.policy import Identity, Role, Tier
from neurogrid.auth.trail import Trail
from neurogrid.core.background import Background
from neurogrid.core.ids import new_id
from neurogrid.core.settings import GridSettings, Settings, TaskSettings
from neurogrid.gateway import Gateway
from neurogrid.nodes.policy import Scope
from neurogrid.protocol.frames import encode, read_to_node
from neurogrid.protocol.link import Link, LinkClosed, in_process_links
from neurogrid.protocol.messages import (
    Assign,
    Chunk,
    Committed,
    Error,
    Failure,
    Heartbeat,
    Hello,
    Message,
    ModelSpec,
    Progress,
    Refused,
    Result,
    ToNode,
    Welcome,
)
from neurogrid.tasks.schemas import TaskSubmit
from tests.support.live import Heard
from tests.support.truth import Truth, truth_of
from tests.support.until import PATIENCE, until

M = TypeVar("M", bound=Message)
BEAT = 0.1
QUICK = {
    "heartbeat": BEAT,
    "poll": 0.2,
    "poll_alone": 0.2,
    "reconcile": 0.1,
    "sweep": 0.1,
    "orphan_sweep": 0.2,
}


@dataclass
class ScriptedNode:
    """A node on a string: it says what it is told to, and beats by itself while ``beating``."""

    world: World
    name: str = "node"
    slots: int = 2
    models: Sequence[str] = ("m",)
    labels: dict[str, str] = field(default_factory=dict)
    max_silence: float = 60.0
    deterministic: Sequence[str] = ()
    """Those of ``models`` whose identical tasks share an execution."""
    session: str | None = None
    beating: bool = True
    arrays: bool = False
    """Whether it reads frames of several messages."""
    longest: int = 0
    """Messages of the longest frame so far."""
    scope: Scope | None = None
    _link: Link | None = None
    _later: list[ToNode] = field(default_factory=list)

    async def attach(
        self,
        gateway: Gateway | None = None,
        *,
        running: Sequence[Progress] = (),
        done: Sequence[Result | Error] = (),
    ) -> Welcome:
        """Connect to a gateway, by default the first, and say what is in hand."""
        ours, theirs = in_process_links()
        self.world.background.spawn((gateway or self.world.gateway).gate.serve(theirs, self.scope), "node")
        self._link, self._later = ours, []
        specs = [
            ModelSpec(
                name,
                "1",
                "test",
                slots=self.slots,
                max_silence=self.max_silence,
                deterministic=name in self.deterministic,
            )
            for name in self.models
        ]
        hello = Hello(
            name=self.name, version="1", models=specs, slots=self.slots, labels=self.labels,
            session=self.session, running=list(running), done=list(done), arrays=self.arrays,
        )  # fmt: skip
        await self.say(hello)
        welcome = await self.expect(Welcome)
        self.session = welcome.session
        self.world.background.spawn(self._beat(ours), "beat")
        known = (gateway or self.world.gateway)._dispatcher.connections
        await until(
            lambda: not self.connected or any(connection.link is theirs for connection in known.values()),
            what="the gateway counts on the node",
        )
        return welcome

    @property
    def connected(self) -> bool:
        """Whether neither side has closed the connection."""
        return self._link is not None and self._link._closed is None  # type: ignore[attr-defined]

    async def _beat(self, link: Link) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                if self.beating:
                    await link.send(encode(Heartbeat()))
            except LinkClosed:
                return

    async def say(self, message: Message) -> None:
        """Send a message."""
        assert self._link is not None
        await self._link.send(encode(message))

    async def expect(self, kind: type[M]) -> M:
        """Return the next message of a type; others keep their order for later calls."""
        message: Any = await self._next(kind)
        return cast("M", message)

    async def verdict(self) -> Committed | Refused:
        """Return the next answer to a result."""
        return cast("Committed | Refused", await self._next(Committed, Refused))

    async def _next(self, *kinds: type[Message]) -> ToNode:
        for index, message in enumerate(self._later):
            if isinstance(message, kinds):
                del self._later[index]
                return message
        assert self._link is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                messages = read_to_node(await self._link.receive())
                self.longest = max(self.longest, len(messages))
                self._later += messages
                for index, message in enumerate(self._later):
                    if isinstance(message, kinds):
                        del self._later[index]
                        return message

    async def chunk(self, order: Assign, seq: int, text: str | None = None) -> None:
        """Send a piece of output."""
        data = orjson.dumps({"text": text or f"{seq} "})
        await self.say(Chunk(order.task, order.attempt, seq, msgspec.Raw(data)))

    async def finish(self, order: Assign, *, seq: int = 1, output: Any = "ok") -> None:
        """Present a result."""
        await self.say(result(order, seq=seq, output=output))

    async def complete(self, order: Assign) -> None:
        """Present a result, and see it committed."""
        await self.finish(order)
        assert (await self.expect(Committed)).task == order.task

    async def fail(self, order: Assign, *, retryable: bool = True, seq: int = 1) -> None:
        """Report an error."""
        failure = Failure("boom", "it broke")
        await self.say(Error(order.task, order.attempt, seq, failure, retryable=retryable))

    async def disconnect(self) -> None:
        """Cut the connection."""
        assert self._link is not None
        await self._link.close(1006)

    async def hung_up(self) -> LinkClosed:
        """Wait until the gateway closes the connection."""
        assert self._link is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self._link.receive()
                except LinkClosed as closed:
                    return closed


def result(order: Assign, *, seq: int = 1, output: Any = "ok") -> Result:
    """Return what a node says when an attempt is complete."""
    return Result(order.task, order.attempt, seq, msgspec.Raw(orjson.dumps(output)))


class World:
    """Gateways over one database, and what a test does with them."""

    def __init__(self, truth: Truth, gateways: Sequence[Gateway]) -> None:
        self.truth = truth
        self.gateways = gateways
        self.background = Background()
        self.owner = Identity(new_id(), new_id(), Role.USER, Tier.PRO)

    @property
    def trail(self) -> Trail:
        """What notes the orders of whoever is on the server itself."""
        return Trail(self.gateway.identity.audit)

    @property
    def gateway(self) -> Gateway:
        """The first gateway."""
        return self.gateways[0]

    async def node(self, name: str = "node", gateway: Gateway | None = None, **options: Any) -> ScriptedNode:
        """Attach a node."""
        node = ScriptedNode(self, name, **options)
        await node.attach(gateway)
        return node

    async def submit(self, gateway: Gateway | None = None, **fields: Any) -> str:
        """Submit a task and return its id."""
        body = TaskSubmit(**{"model": "m", "input": "hi", **fields})
        return (await (gateway or self.gateway)._submissions.submit(self.owner, body)).id

    async def cancel(self, task: str, gateway: Gateway | None = None) -> None:
        """Cancel a task."""
        await (gateway or self.gateway)._tasks.cancel(self.owner, task)

    async def follow(self, task: str, gateway: Gateway | None = None) -> Heard:
        """Hear all events of a task from now on."""
        heard = Heard()
        await (gateway or self.gateway)._bus.follow(task, heard.on_event, heard.on_reset)
        return heard

    async def reaches(self, task: str, status: str, **values: Any) -> Any:
        """Wait until a task's row has a status, and ``values``; return it."""
        wanted = {"status": status, **values}

        async def there() -> Any:
            row = await self.truth.task(task)
            return row if all(row[name] == value for name, value in wanted.items()) else None

        return await until(there, what=f"task {task} is {wanted}")

    def slots_are_free(self) -> bool:
        """Tell whether no connection holds a slot, a ticket or an unsettled end."""
        connections = [c for gateway in self.gateways for c in gateway._dispatcher.connections.values()]
        return not any(
            c.used or c.running or c.settling or any(c._reserved.values()) or any(c._used.values())
            for c in connections
        )


def settings_for(database_url: str, redis_url: str | None, grid: dict[str, float]) -> Settings:
    """Return settings with quick rounds."""
    return Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url) if redis_url else None,
        grid=GridSettings(**{"lease": 60.0, **QUICK, **grid}),
        tasks=TaskSettings(retry_base=0.05),
    )


@asynccontextmanager
async def world_of(
    database_url: str, redis_url: str | None = None, *, gateways: int = 1, **grid: float
) -> AsyncIterator[World]:
    """Run gateways with settings ``grid``. In the end every slot must be free."""
    async with AsyncExitStack() as stack:
        truth = await stack.enter_async_context(truth_of(database_url))
        running = []
        for _ in range(gateways):
            gateway = Gateway(settings_for(database_url, redis_url, grid))
            await gateway.start()
            stack.push_async_callback(gateway.close)
            running.append(gateway)
        world = World(truth, running)
        stack.push_async_callback(world.background.close)
        yield world
        await until(world.slots_are_free, what="all slots are free")
