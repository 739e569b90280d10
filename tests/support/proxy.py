"""A TCP proxy in front of PostgreSQL that cuts connections at chosen moments."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import URL, make_url

COMMIT_DONE = b"C" + struct.pack("!I", 11) + b"COMMIT\x00"
"""The message by which PostgreSQL says that a transaction is committed."""


@dataclass
class Proxy:
    """Passes bytes on until its test says otherwise.

    ``cut_answers`` counts down: so many times, the server's answer to a COMMIT is dropped with its connection.
    ``cut_requests`` does the same before the COMMIT reaches the server. ``closed`` refuses everything.
    """

    target: URL
    port: int = 0
    cut_answers: int = 0
    cut_requests: int = 0
    closed: bool = False
    cuts: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _pumps: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The database's URL by way of the proxy."""
        through = self.target.set(host="127.0.0.1", port=self.port, query={})
        return through.render_as_string(hide_password=False)

    def cut_all(self) -> None:
        """Drop every connection."""
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if self.closed:
            writer.transport.abort()
            return
        their_reader, their_writer = await self._connect()
        both = {writer, their_writer}
        self._open |= both
        try:
            await asyncio.wait(
                {
                    asyncio.ensure_future(self._pump(reader, their_writer, answers=False)),
                    asyncio.ensure_future(self._pump(their_reader, writer, answers=True)),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._open -= both
            for one in both:
                one.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = self.target.query.get("host")
        if isinstance(folder, str):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{self.target.port or 5432}")
        return await asyncio.open_connection(self.target.host or "127.0.0.1", self.target.port or 5432)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if self._cuts(data, answers=answers):
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()

    def _cuts(self, data: bytes, *, answers: bool) -> bool:
        if answers and self.cut_answers and COMMIT_DONE in data:
            self.cut_answers -= 1
            return True
        if not answers and self.cut_requests and b"COMMIT" in data:
            self.cut_requests -= 1
            return True
        return False


@asynccontextmanager
async def proxy_to(database_url: str) -> AsyncIterator[Proxy]:
    """Run a proxy to a PostgreSQL database as long as the block."""
    proxy = Proxy(make_url(database_url))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
        await server.wait_closed()
