"""Grids of real processes, and what a user does with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.service import AuthService
from neurogrid.core.db import Database
from tests.support.plain import NOBODY
from tests.support.processes import Grid, GridProcess, free_port
from tests.support.until import until_blocking

LONG = 120.0
"""Seconds in which anything a test waits for has happened, on a busy machine too."""
FINAL = {"task.completed", "task.failed", "task.canceled"}

Event = dict[str, Any]


@dataclass
class User:
    """Somebody with a key."""

    key: str

    def http(self, gateway: GridProcess) -> httpx.Client:
        """Return a client of ``gateway``."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(
            base_url=gateway.url, headers=headers, timeout=LONG, trust_env=False, verify=NOBODY
        )

    def submit(self, gateway: GridProcess, model: str, input: Any, **fields: Any) -> str:
        """Submit a task and return its id."""
        with self.http(gateway) as http:
            answer = http.post("/v1/tasks", json={"model": model, "input": input, **fields})
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text
            task: str = answer.json()["id"]
            return task

    def task(self, gateway: GridProcess, id: str) -> Any:
        """Return a task."""
        with self.http(gateway) as http:
            return http.get(f"/v1/tasks/{id}").raise_for_status().json()

    def finished(self, gateway: GridProcess, id: str) -> Any:
        """Wait until a task is over and return it."""

        def over() -> Any:
            task = self.task(gateway, id)
            return task if task["finished_at"] else None

        return until_blocking(over, LONG, what=f"task {id} is over")

    def states(self, gateway: GridProcess, id: str) -> list[Event]:
        """Return the state events of a task."""
        with self.http(gateway) as http:
            events: list[Event] = http.get(f"/v1/tasks/{id}/log").raise_for_status().json()["data"]
            return events

    def follow(self, gateway: GridProcess, id: str, after: str | None = None) -> Iterator[Event]:
        """Follow a task over a WebSocket to its final event; closing the iterator cuts the connection."""
        url = gateway.url.replace("http", "ws") + "/v1/ws"
        headers = {"Authorization": f"Bearer {self.key}"}
        with connect(url, additional_headers=headers, proxy=None) as socket:
            cursor = {"after": after} if after else {}
            socket.send(json.dumps({"type": "subscribe", "channel": f"task:{id}", **cursor}))
            while True:
                message = json.loads(socket.recv(timeout=LONG))
                assert message["type"] != "error", message
                if message["type"] == "event":
                    yield message["event"]
                    if message["event"]["type"] in FINAL:
                        return


@dataclass
class Cluster:
    """Gateways and nodes as processes of their own, on shared servers."""

    grid: Grid
    user: User = field(init=False)

    def __post_init__(self) -> None:
        """Make a user and a token by which nodes join."""
        self.grid.run("user", "create", "ada@example.org")
        self.user = User(
            self.grid.run("key", "create", "--user", "ada@example.org", "--name", "test").strip()
        )
        self.token = self.grid.run("nodes", "token").strip()

    def accounts(self, tiers: Mapping[str, str]) -> dict[str, User]:
        """Make users of these tiers, without a process for each."""

        async def make() -> dict[str, User]:
            database = Database(self.grid.environment["NEUROGRID_DATABASE_URL"])
            auth, users = AuthService(database), {}
            for name, tier in tiers.items():
                email = f"{name}@example.org"
                await auth.create_user(email, Role.USER, Tier(tier), None)
                users[name] = User(await auth.create_key(email, "test", None))
            await database.close()
            return users

        return asyncio.run(make())

    def gateway(self, name: str) -> GridProcess:
        """Start a gateway."""
        return self.grid.gateway(name=name)

    def node(self, name: str, gateway: GridProcess, *models: str, slots: int = 8) -> GridProcess:
        """Start a node with a data directory of its own and wait until it has joined."""
        process = self.grid.start(
            "node", "--url", gateway.url.replace("http", "ws"), "--token", self.token, "--name", name,
            "--models", ",".join(models), "--slots", str(slots), "--data-dir", str(self.grid.directory / name), name=name,
        )  # fmt: skip

        def joined() -> bool:
            assert process.returncode is None, process.output()
            with self.user.http(gateway) as http:
                served = {model["id"]: model["nodes"] for model in http.get("/v1/models").json()["data"]}
            return all(name in served.get(model, ()) for model in models)

        until_blocking(joined, LONG, what=f"{name} has joined")
        return process


@dataclass
class Single:
    """``neurogrid up`` with one data directory, and always on the same port."""

    grid: Grid
    port: int = field(default_factory=free_port)

    @property
    def directory(self) -> Path:
        """Where its data lies."""
        return Path(self.grid.environment["NEUROGRID_DATA_DIR"])

    @property
    def credentials(self) -> Any:
        """What it wrote for its first admin."""
        return json.loads((self.directory / "credentials.json").read_text())

    def up(self, *arguments: str) -> GridProcess:
        """Start it and wait until it is ready, which includes its models."""
        process = self.grid.start("up", "--port", str(self.port), *arguments)
        process.url = f"http://127.0.0.1:{self.port}"
        return process.wait_until_ready(LONG)

    def user(self) -> User:
        """Return the first admin."""
        return User(self.credentials["api_key"])


def text_of(events: list[Event]) -> str:
    """Return the text that a reader of ``events`` has in the end."""
    text = ""
    for event in events:
        if event["type"] == "task.chunk":
            text += event["data"]["text"]
        elif event["type"] in {"task.retrying", "task.snapshot"}:
            text = event["data"].get("text", "")
    return text


def first(events: Iterator[Event], enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Return what ``events`` brings until it is ``enough``; the rest is cut off."""
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if enough(seen):
            break
    events.close()  # type: ignore[attr-defined]
    return seen
