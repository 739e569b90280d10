"""The throw-away grid: real processes, and a network between them that the drill holds in its hand.

clients ──▶ gateways ──proxy──▶ PostgreSQL          each gateway has proxies of its own
nodes ──proxy──▶ gateways ──proxy──▶ Valkey         each node has one, which picks a gateway that runs
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from neurogrid.drill.patience import until
from neurogrid.drill.process import GridProcess
from neurogrid.drill.proxy import DatabaseProxy, Proxy, Streams
from neurogrid.drill.servers import Database, Redis
from neurogrid.drill.work import MODELS

COMMAND = (sys.executable, "-m", "neurogrid.cli.main")
EMAIL = "drill@localhost"
JOURNAL = "neurogrid-journal"
"""What the connection calls itself by which a gateway writes."""
SLOTS = 16
READY_WITHIN = 60.0
NO_DATABASE = 3
"""The exit code of a gateway that does not reach its database."""
SETTINGS = {
    # Everything as in production, but sooner.
    "NEUROGRID_GRID__LEASE": "3",
    "NEUROGRID_GRID__HEARTBEAT": "0.7",
    "NEUROGRID_GRID__ORPHAN_SWEEP": "3",
    "NEUROGRID_GRID__SHUTDOWN_GRACE": "4",
    "NEUROGRID_TASKS__RETRY_BASE": "0.2",
    "NEUROGRID_TASKS__RETRY_MAX": "1",
    # A task that loses its node again and again is the drill's doing.
    "NEUROGRID_TASKS__MAX_LOSSES": "1000",
    "NEUROGRID_LIVE__HEARTBEAT": "2",
    "NEUROGRID_LIVE__WAITER_POLL": "1",
    "NEUROGRID_LIVE__DISCONNECT_GRACE": "1",
    "NEUROGRID_DEBUG_MODELS": "true",
    "NEUROGRID_LOG_JSON": "true",
    "NEUROGRID_ENABLE_API_DOCS": "false",
}
ALIASES = ("DATABASE_URL", "REDIS_URL", "PORT", "LOG_LEVEL", "ENABLE_API_DOCS")


class GridFailed(Exception):
    """The grid cannot be brought up; the text says why, ``hint`` where to look."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway with its ways to the servers."""

    process: GridProcess
    url: str
    to_database: DatabaseProxy
    to_redis: Proxy


@dataclass(frozen=True, slots=True)
class Node:
    """A node with its way to the gateways."""

    process: GridProcess
    to_gateways: Proxy


class Grid:
    """Everything the drill runs, in ``directory``. ``extra`` goes into the environment of the gateways."""

    def __init__(self, directory: Path, gateways: int, nodes: int, extra: Mapping[str, str]) -> None:
        """Prepare; nothing is started."""
        self.directory = directory
        self.database = Database(directory / "postgres")
        self.redis = Redis(directory / "valkey")
        self.gateways: list[Gateway] = []
        self.nodes: list[Node] = []
        self.api_key = ""
        self._sizes = (gateways, nodes)
        self._extra = {"NEUROGRID_SECRET_KEY": secrets.token_hex(32), **extra}
        self._choose = random.Random()  # noqa: S311  which gateway a node meets is no secret
        self._stack = AsyncExitStack()

    @property
    def processes(self) -> list[GridProcess]:
        """All of ours: gateways and nodes."""
        return [*(one.process for one in self.gateways), *(one.process for one in self.nodes)]

    async def start(self) -> None:
        """Bring everything up. Raises ``GridFailed``, ``ServerFailed``."""
        self.directory.joinpath("run").mkdir(parents=True, exist_ok=True)
        self._stack.push_async_callback(self._end_processes)
        self._stack.push_async_callback(self.redis.close)
        self._stack.push_async_callback(self.database.close)
        await asyncio.gather(self.database.start(), self.redis.start())
        url = {"NEUROGRID_DATABASE_URL": self.database.url}
        await self._run(url, "db", "upgrade")
        await self._run(url, "user", "create", EMAIL, "--role", "admin", "--tier", "unlimited")
        self.api_key = await self._run(url, "key", "create", "--user", EMAIL, "--name", "drill")
        token = await self._run(url, "nodes", "token")
        for number in range(1, self._sizes[0] + 1):
            self.gateways.append(await self._gateway(f"gateway-{number}"))
        for number in range(1, self._sizes[1] + 1):
            self.nodes.append(await self._node(f"node-{number}", token))
        for process in self.processes:
            process.start()
        await self.ready()

    async def close(self) -> None:
        """End everything."""
        await self._stack.aclose()

    def revive(self) -> list[GridProcess]:
        """Do what a supervisor does: start those again that ended by themselves. Return them, for complaints.

        A gateway that finds no database when it starts gives up, as a supervisor expects it to.
        """
        ended = [one for one in self.processes if one.wanted and not one.alive]
        strange = [one for one in ended if one.returncode != NO_DATABASE]
        for process in ended:
            process.start()
        return strange

    async def mend(self) -> None:
        """Undo all that was done to the grid: everything runs and answers. Raises ``GridFailed``."""
        for proxy in self._proxies():
            proxy.thaw()
        await self.database.mend()
        await self.redis.mend()
        for process in self.processes:
            if process.paused:
                process.resume()
        await self.ready()

    async def ready(self) -> None:
        """Wait until all gateways are ready and serve every model. Raises ``GridFailed``."""
        await asyncio.gather(*(self._until_ready(gateway) for gateway in self.gateways))

    async def _until_ready(self, gateway: Gateway) -> None:
        async with self._http(gateway) as client:
            if not await until(lambda: _serves(client), READY_WITHIN, 0.1):
                name, log = gateway.process.name, gateway.process.log
                raise GridFailed(f"{name} is not ready after {READY_WITHIN:g} s", hint=f"{log} says why.")

    def _http(self, gateway: Gateway) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=5.0, trust_env=False)

    async def _gateway(self, name: str) -> Gateway:
        to_database = DatabaseProxy(f"{name} from PostgreSQL", self.database.dial, JOURNAL)
        to_redis = Proxy(f"{name} from Valkey", self.redis.dial)
        for proxy in (to_database, to_redis):
            await self._open(proxy)
        port = _free_port()
        environment = {
            "NEUROGRID_DATABASE_URL": f"postgresql://{self.database.user}@127.0.0.1:{to_database.port}/postgres",
            "NEUROGRID_REDIS_URL": f"redis://127.0.0.1:{to_redis.port}/0",
        }
        process = self._process(name, environment, "serve", "--host", "127.0.0.1", "--port", str(port))
        return Gateway(process, f"http://127.0.0.1:{port}", to_database, to_redis)

    async def _node(self, name: str, token: str) -> Node:
        to_gateways = Proxy(f"{name} from its gateway", self._dial_gateway)
        await self._open(to_gateways)
        arguments = ("--name", name, "--slots", str(SLOTS), "--models", ",".join(MODELS))
        environment = {
            "NEUROGRID_URL": f"ws://127.0.0.1:{to_gateways.port}",
            "NEUROGRID_NODE_TOKEN": token,
        }
        return Node(self._process(name, environment, "node", *arguments), to_gateways)

    async def _open(self, proxy: Proxy) -> None:
        await proxy.start()
        self._stack.push_async_callback(proxy.close)

    async def _dial_gateway(self) -> Streams:
        """Do what a balancer does that looks after the health of those behind it."""
        healthy = [one for one in self.gateways if one.process.alive and not one.process.paused]
        for gateway in self._choose.sample(healthy, len(healthy)):
            try:
                return await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
            except OSError:
                continue
        raise ConnectionRefusedError

    def _process(self, name: str, environment: Mapping[str, str], *arguments: str) -> GridProcess:
        data = {"NEUROGRID_DATA_DIR": str(self.directory / "run" / name)}
        whole = _environment({**SETTINGS, **self._extra, **data, **environment})
        return GridProcess(name, (*COMMAND, *arguments), whole, self.directory / f"{name}.log")

    async def _run(self, environment: Mapping[str, str], *arguments: str) -> str:
        """Run a command to its end and return what it printed."""
        child = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment({**self._extra, **environment}),
            cwd=self.directory,
        )
        try:
            output, complaint = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            raise GridFailed(f"neurogrid {' '.join(arguments)}: {complaint.decode(errors='replace').strip()}")
        return output.decode().strip()

    async def _end_processes(self) -> None:
        for process in self.processes:
            process.kill()

    def _proxies(self) -> Iterable[Proxy]:
        for gateway in self.gateways:
            yield gateway.to_database
            yield gateway.to_redis
        for node in self.nodes:
            yield node.to_gateways


async def _serves(client: httpx.AsyncClient) -> bool:
    try:
        if (await client.get("/health/ready")).status_code != httpx.codes.OK:
            return False
        answer = await client.get("/v1/models")
    except httpx.TransportError:
        return False
    if answer.status_code != httpx.codes.OK:
        return False
    return set(MODELS) <= {model["id"] for model in answer.json()["data"] if model["available"]}


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of this process without its settings for NeuroGrid, and ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEUROGRID_")}
    for alias in ALIASES:
        kept.pop(alias, None)
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
