"""A lean HTTP/1.1 load generator: keep-alive connections, one request in flight on each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import psutil


@dataclass
class Figures:
    """What a run measured. Times are in seconds."""

    requests: int
    seconds: float
    server_cpu: float
    latencies: list[float] = field(repr=False)
    errors: int = 0

    def summary(self) -> dict[str, float]:
        """Return the figures people compare."""
        ordered = sorted(self.latencies)
        mean = sum(ordered) / len(ordered)
        deviation = (sum((value - mean) ** 2 for value in ordered) / len(ordered)) ** 0.5
        milliseconds = {
            "mean_ms": mean,
            "median_ms": _quantile(ordered, 0.5),
            "min_ms": ordered[0],
            "max_ms": ordered[-1],
            "stdev_ms": deviation,
            "p50_ms": _quantile(ordered, 0.5),
            "p95_ms": _quantile(ordered, 0.95),
            "p99_ms": _quantile(ordered, 0.99),
        }
        return {
            "requests": self.requests,
            "per_second": round(self.requests / self.seconds, 1),
            "cpu_us": round(self.server_cpu / self.requests * 1e6, 1),
            "errors": self.errors,
            **{name: round(value * 1000, 3) for name, value in milliseconds.items()},
        }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class _Connection(asyncio.Protocol):
    """One connection; knows just enough HTTP to find the end of an answer."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

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

    async def request(self, frame: bytes) -> tuple[int, bytes]:
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(frame)
        return await self._answer


def frame(method: str, path: str, key: str, body: bytes = b"", headers: str = "") -> bytes:
    """Return a whole request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{headers}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def load(
    port: int, server: psutil.Process, make: Callable[[int], bytes], *, requests: int, concurrency: int
) -> Figures:
    """Send ``requests`` requests over ``concurrency`` connections, after a short warm-up."""
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(concurrency)
    ]
    latencies: list[float] = []
    errors = 0
    left = iter(range(requests))

    async def worker(connection: _Connection) -> None:
        nonlocal errors
        for number in left:
            began = time.perf_counter()
            status, _ = await connection.request(make(number))
            latencies.append(time.perf_counter() - began)
            errors += status >= 400

    for connection in connections[: min(concurrency, 8)]:
        await connection.request(make(0))
    cpu, began = _cpu(server), time.perf_counter()
    await asyncio.gather(*(worker(connection) for connection in connections))
    figures = Figures(requests, time.perf_counter() - began, _cpu(server) - cpu, latencies, errors)
    for connection in connections:
        if connection.transport is not None:
            connection.transport.close()
    return figures


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
