"""A lean HTTP/1.1 load generator: keep-alive connections, one request in flight on each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import orjson

from benchmarks.processes import Process

HOST = "127.0.0.1"


@dataclass(slots=True)
class Round:
    """What one round measured. Times are in seconds; ``cpu`` is the server's, ``other_cpu`` the node's."""

    requests: int
    seconds: float
    cpu: float
    latencies: list[float] = field(repr=False)
    errors: int = 0
    other_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU of the server for one request, in microseconds."""
        return self.cpu / self.requests * 1e6


class Connection(asyncio.Protocol):
    """One connection; knows just enough HTTP to find the end of an answer that states its length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        return (await asyncio.get_running_loop().create_connection(cls, HOST, port))[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(body) >= length and self._answer is not None:
            self._buffer = b""
            self._answer.set_result((int(head[9:12]), body))

    async def request(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request; return status and body. Raises ``ConnectionError``."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class Client:
    """One caller of the API, for what is not measured."""

    def __init__(self, port: int, key: str) -> None:
        """Speak with the gateway on ``port``."""
        self._port = port
        self._key = key
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        self._connection = await Connection.open(self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    async def get(self, path: str) -> Any:
        """Return what lies at ``path``. Raises ``RuntimeError``."""
        return await self._call(frame("GET", path, self._key))

    async def post(self, path: str, value: Any = None, headers: str = "") -> Any:
        """Send ``value`` to ``path`` and return the answer. Raises ``RuntimeError``."""
        body = b"" if value is None else orjson.dumps(value)
        return await self._call(frame("POST", path, self._key, body, headers))

    async def _call(self, request: bytes) -> Any:
        assert self._connection is not None
        status, body = await self._connection.request(request)
        if status >= 400:
            raise RuntimeError(f"{request.splitlines()[0].decode()} was answered {status}: {body.decode()}")
        return orjson.loads(body)


def frame(method: str, path: str, key: str, body: bytes = b"", headers: str = "") -> bytes:
    """Return a whole request; ``headers`` are lines that end with CR LF."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{headers}"
    if body:
        head += "Content-Type: application/json\r\n"
    if body or method == "POST":
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def load(
    port: int,
    server: Process,
    make: Callable[[int], bytes],
    *,
    requests: int,
    concurrency: int,
    accept: Collection[int],
    other: Process | None = None,
) -> Round:
    """Send ``requests`` requests over ``concurrency`` connections, after one on each that is not counted.

    Answers with a status that is not in ``accept`` count as errors.
    """
    latencies: list[float] = []
    errors = 0
    left = iter(range(requests))

    async def worker(connection: Connection) -> None:
        nonlocal errors
        for number in left:
            began = time.perf_counter()
            status, _ = await connection.request(make(number))
            latencies.append(time.perf_counter() - began)
            errors += status not in accept

    async with _connections(port, concurrency) as connections:
        await asyncio.gather(*(connection.request(make(0)) for connection in connections))
        cpu, other_cpu, began = server.cpu, other.cpu if other else 0.0, time.perf_counter()
        await asyncio.gather(*(worker(connection) for connection in connections))
        seconds = time.perf_counter() - began
        other_cpu = other.cpu - other_cpu if other else 0.0
        return Round(requests, seconds, server.cpu - cpu, latencies, errors, other_cpu)


@asynccontextmanager
async def _connections(port: int, number: int) -> AsyncIterator[list[Connection]]:
    connections: list[Connection] = []
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            connection = await Connection.open(port)
            stack.callback(connection.close)
            connections.append(connection)
        yield connections
