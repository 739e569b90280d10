"""A grid whose every part may be stopped, paused and cut off, and a load that keeps the record."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from neurogrid.drill.servers import Database, Redis
from tests.e2e.grids import FINAL, LONG, Cluster, Event, text_of
from tests.support.plain import NOBODY
from tests.support.processes import Grid, GridProcess
from tests.support.until import until_blocking

ANSWER_WITHIN = 8.0
"""Seconds: a submission is answered within 5, and a busy machine may take some more to say so."""
BACK_WITHIN = 15.0
"""Seconds: a gateway takes 5 to find a server that is back, on a machine that does nothing else."""
PER_SECOND = 10.0
CHUNKS = 120
TEXT = "".join(f"{number} " for number in range(1, CHUNKS + 1))
"""What a task says that speaks ``CHUNKS`` times."""
SETTINGS = {
    "NEUROGRID_DEBUG_MODELS": "true",
    "NEUROGRID_GRID__LEASE": "3",
    "NEUROGRID_GRID__HEARTBEAT": "0.5",
    "NEUROGRID_GRID__SHUTDOWN_GRACE": "4",
}


@dataclass(frozen=True)
class Answer:
    """What a submission was answered, and when, by the monotonic clock."""

    status: int
    asked_at: float
    seconds: float
    retry_after: str | None
    task: str | None

    @property
    def accepted(self) -> bool:
        """Whether a task was promised."""
        return self.status == httpx.codes.ACCEPTED


@dataclass
class Load:
    """Submits ``debug.echo`` to ``gateways`` in turn, steadily and whatever becomes of it, for a block."""

    key: str
    gateways: Sequence[GridProcess]
    answers: list[Answer] = field(default_factory=list)
    unreachable: int = 0
    """Submissions that got no answer, because nobody listened or the connection was cut."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def accepted(self) -> list[str]:
        """The tasks that were promised so far."""
        return [answer.task for answer in self.answers if answer.task is not None]

    def accepted_since(self, moment: float) -> list[Answer]:
        """Return the answers by which tasks were promised to those who asked after ``moment``."""
        return [answer for answer in self.since(moment) if answer.accepted]

    def since(self, moment: float) -> list[Answer]:
        """Return the answers to what was asked after ``moment``."""
        return [answer for answer in list(self.answers) if answer.asked_at > moment]

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        endless = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(
                headers=headers, timeout=LONG, trust_env=False, verify=NOBODY, limits=endless
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            number = 0
            while not self._stop.is_set():
                group.create_task(self._submit(http, self.gateways[number % len(self.gateways)], number))
                number += 1
                await asyncio.sleep(1 / PER_SECOND)

    async def _submit(self, http: httpx.AsyncClient, gateway: GridProcess, number: int) -> None:
        asked_at = time.monotonic()
        try:
            answer = await http.post(f"{gateway.url}/v1/tasks", json={"model": "debug.echo", "input": number})
        except httpx.TransportError:
            self.unreachable += 1
            return
        task = answer.json()["id"] if answer.status_code == httpx.codes.ACCEPTED else None
        took = time.monotonic() - asked_at
        retry_after = answer.headers.get("Retry-After")
        self.answers.append(Answer(answer.status_code, asked_at, took, retry_after, task))


class Follower:
    """Follows a task as a client does: when its connection breaks, it goes on at the next gateway."""

    def __init__(self, stage: Stage, task: str, *gateways: GridProcess) -> None:
        """Begin at the first of ``gateways``."""
        self.events: list[Event] = []
        self.codes: list[int | None] = []
        """How the connections ended that broke: WebSocket close codes, ``None`` without one."""
        self._thread = threading.Thread(target=self._follow, args=(stage, task, gateways), daemon=True)
        self._thread.start()

    @property
    def chunks(self) -> int:
        """How many chunks arrived so far."""
        return sum(event["type"] == "task.chunk" for event in self.events)

    @property
    def whole(self) -> bool:
        """Whether the events of an undisturbed task are all there, in order and once."""
        ids = [event["id"] for event in self.events]
        return ids == ["0-1", *(f"1-{seq}" for seq in range(1, len(ids)))] and text_of(self.events) == TEXT

    def ended(self) -> list[Event]:
        """Wait for the task's end, and return all events."""
        self._thread.join(LONG)
        assert not self._thread.is_alive(), f"no end after {self.events[-1:]}"
        return self.events

    def _follow(self, stage: Stage, task: str, gateways: Sequence[GridProcess]) -> None:
        turn = 0
        while not (self.events and self.events[-1]["type"] in FINAL):
            after = self.events[-1]["id"] if self.events else None
            try:
                for event in stage.cluster.user.follow(gateways[turn % len(gateways)], task, after):
                    self.events.append(event)
            except ConnectionClosed as closed:
                self.codes.append(closed.rcvd.code if closed.rcvd else None)
            except (OSError, InvalidHandshake):
                time.sleep(0.2)
            turn += 1


@dataclass
class Stage:
    """Two gateways, ``a`` and ``b``, on servers of their own; ``debug.sleep`` is served at ``a`` alone."""

    cluster: Cluster
    database: Database
    redis: Redis
    a: GridProcess
    b: GridProcess
    guests: list[GridProcess] = field(default_factory=list)
    """Nodes that a test brought in."""

    def load(self) -> Load:
        """Return a load on both gateways."""
        return Load(self.cluster.user.key, (self.a, self.b))

    def sleep(self, seconds: float, chunks: int, at: GridProcess | None = None, **fields: Any) -> str:
        """Submit a task that speaks all the time."""
        input = {"seconds": seconds, "chunks": chunks}
        return self.cluster.user.submit(at or self.a, "debug.sleep", input, **fields)

    def node(self, name: str, *urls: str, label: str = "") -> GridProcess:
        """Start a node that serves ``debug.sleep`` and knows the gateways at ``urls``; wait until it has joined."""
        grid = self.cluster.grid
        process = grid.start(
            "node", "--url", ",".join(urls), "--token", self.cluster.token, "--name", name,
            "--models", "debug.sleep", "--slots", "4", "--data-dir", str(grid.directory / name),
            *(("--label", label) if label else ()), name=name,
        )  # fmt: skip
        self.guests.append(process)
        self.until_serving(name)
        return process

    def until_serving(self, node: str) -> None:
        """Wait until the grid has ``node``."""
        until_blocking(lambda: node in self.serving(), LONG, what=f"{node} has joined")

    def serving(self) -> list[str]:
        """Return the names of the nodes that run ``debug.sleep``."""
        with self.cluster.user.http(self.b) as http:
            models = http.get("/v1/models").raise_for_status().json()["data"]
        return [node for model in models if model["id"] == "debug.sleep" for node in model["nodes"]]

    def start_again(self, gateway: GridProcess) -> None:
        """Start a gateway that ended where it was, and wait until its own node is back."""
        self.a = self.serve(gateway.url.rpartition(":")[2], gateway.name).wait_until_ready()
        self.until_serving("node-a")

    def serve(self, port: str, name: str, environment: Mapping[str, str] | None = None) -> GridProcess:
        """Start a gateway, without waiting for it."""
        arguments = ("serve", "--host", "127.0.0.1", "--port", port)
        process = self.cluster.grid.start(*arguments, name=name, environment=environment)
        process.url = f"http://127.0.0.1:{port}"
        return process

    def health(self, gateway: GridProcess, kind: str) -> tuple[int, Any]:
        """Return status and body of a page of a gateway's health."""
        with httpx.Client(trust_env=False, verify=NOBODY, timeout=LONG) as http:
            answer = http.get(f"{gateway.url}/health/{kind}")
            return answer.status_code, answer.json()

    def until_ready_says(self, code: int, status: str) -> None:
        """Wait until both gateways say so."""
        for gateway in (self.a, self.b):

            def says(gateway: GridProcess = gateway) -> bool:
                found, body = self.health(gateway, "ready")
                return (found, body["status"]) == (code, status)

            until_blocking(says, BACK_WITHIN, interval=0.1, what=f"{gateway.name} is {status}")

    def tasks(self, ids: Sequence[str], at: GridProcess) -> list[Any]:
        """Wait until all tasks are over, and return them."""
        with self.cluster.user.http(at) as http:

            def over(id: str) -> Any:
                task = http.get(f"/v1/tasks/{id}").raise_for_status().json()
                return task if task["finished_at"] else None

            return [until_blocking(partial(over, id), LONG, what=f"{id} is over") for id in ids]

    def ends(self, id: str, at: GridProcess) -> int:
        """Return how many ends a task's log has."""
        return sum(event["type"] in FINAL for event in self.cluster.user.states(at, id))

    def mend(self) -> None:
        """See that both servers run, and that the nodes a test brought in are gone."""
        asyncio.run(self.database.mend())
        asyncio.run(self.redis.mend())
        while self.guests:
            self.guests.pop().kill()
        until_blocking(lambda: self.serving() == ["node-a"], LONG, what="the guests have left")


@contextmanager
def stage_in(directory: Path) -> Iterator[Stage]:
    """Bring everything up in ``directory``, which is made."""
    directory.mkdir(mode=0o755)
    database, redis = Database(directory / "postgres"), Redis(directory / "valkey")
    try:
        asyncio.run(_start(database, redis))
        environment = {
            **SETTINGS,
            "NEUROGRID_DATABASE_URL": database.url,
            "NEUROGRID_REDIS_URL": redis.url,
        }
        with Grid(directory, environment) as grid:
            grid.run("db", "upgrade")
            cluster = Cluster(grid)
            a, b = cluster.gateway("a"), cluster.gateway("b")
            cluster.node("node-a", a, "debug.echo", "debug.sleep")
            cluster.node("node-b", b, "debug.echo")
            yield Stage(cluster, database, redis, a, b)
    finally:
        asyncio.run(_close(database, redis))


async def _start(database: Database, redis: Redis) -> None:
    await asyncio.gather(database.start(), redis.start())


async def _close(database: Database, redis: Redis) -> None:
    await asyncio.gather(database.close(), redis.close())
