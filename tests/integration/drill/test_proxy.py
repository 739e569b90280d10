"""The network of the drill does to connections what it says, in the very moment that it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL, make_url

from neurogrid.drill.proxy import Cut, DatabaseProxy, Proxy, Streams, Trap, cut_after, cut_before, delay
from neurogrid.drill.wire import Moment

pytestmark = pytest.mark.asyncio
WRITER = "writer"
LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
INSERT = "INSERT INTO kept VALUES (1)"


@asynccontextmanager
async def echo() -> AsyncIterator[Proxy]:
    """A proxy before a server that says everything again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy("echo", lambda: asyncio.open_connection("127.0.0.1", port))
    await proxy.start()
    yield proxy
    await proxy.close()
    server.close()


async def test_what_flows_passes_and_what_is_cut_ends() -> None:
    """Bytes pass both ways until the cut; new connections pass again."""
    async with echo() as proxy:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert proxy.cut() == 1
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()


async def test_what_is_frozen_comes_later() -> None:
    """Nothing is lost of what was said while nothing passed."""
    async with echo() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.freeze()
        writer.write(b"hello")
        answer = asyncio.ensure_future(reader.readexactly(5))
        assert not (await asyncio.wait({answer}, timeout=0.2))[0]
        proxy.thaw()
        assert await answer == b"hello"
        writer.close()


class Grounds:
    """A table behind a proxy."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.proxy = DatabaseProxy("writer from PostgreSQL", self._dial, WRITER)

    async def _dial(self) -> Streams:
        host = self.url.query.get("host") or self.url.host or "127.0.0.1"
        if isinstance(host, str) and host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{self.url.port or 5432}")
        return await asyncio.open_connection(str(host), self.url.port or 5432)

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.proxy.port,
            user=self.url.username,
            password=self.url.password,
            database=self.url.database,
            server_settings={"application_name": WRITER},
        )

    async def kept(self) -> int:
        connection = await self.connect()
        try:
            return int(await connection.fetchval("SELECT count(*) FROM kept"))
        finally:
            await connection.close()


@pytest_asyncio.fixture
async def grounds(postgres_url: str) -> AsyncIterator[Grounds]:
    """A proxy before a database with one empty table."""
    found = Grounds(make_url(postgres_url))
    await found.proxy.start()
    connection = await found.connect()
    await connection.execute("CREATE TABLE kept (number int)")
    await connection.close()
    yield found
    await found.proxy.close()


async def write(connection: asyncpg.Connection[asyncpg.Record], *, alone: bool) -> None:
    if alone:
        await connection.fetch(INSERT)
        return
    async with connection.transaction():
        await connection.fetch(INSERT)


async def laid(proxy: DatabaseProxy, trap: Trap) -> asyncio.Future[bool]:
    sprung = asyncio.ensure_future(proxy.spring(trap))
    await asyncio.sleep(0)
    return sprung


@pytest.mark.parametrize("alone", [True, False], ids=["statement", "transaction"])
@pytest.mark.parametrize(("trap", "rows"), [(cut_before(), 0), (cut_after(), 1)], ids=["before", "after"])
async def test_a_connection_is_cut_at_its_commit(
    grounds: Grounds, trap: Trap, rows: int, *, alone: bool
) -> None:
    """The client loses its connection in both cases; cut after the commit, the row is there."""
    connection = await grounds.connect()
    sprung = await laid(grounds.proxy, trap)
    with pytest.raises(LOST):
        await write(connection, alone=alone)
    assert await sprung
    assert await grounds.kept() == rows


async def test_a_commit_is_answered_late(grounds: Grounds) -> None:
    """While the answer is held up, the row is there already."""
    connection = await grounds.connect()
    sprung = await laid(grounds.proxy, delay(1.0))
    writing = asyncio.ensure_future(write(connection, alone=False))
    assert await sprung
    assert await grounds.kept() in {0, 1}  # the trap is sprung when the commit is asked for
    await writing
    assert await grounds.kept() == 1
    await connection.close()


async def test_a_writer_is_met_inside_a_transaction(grounds: Grounds) -> None:
    """The trap strikes while the server waits for the writer: nothing is committed."""
    struck = asyncio.Event()

    async def strike() -> None:
        struck.set()
        raise Cut

    connection = await grounds.connect()
    sprung = await laid(grounds.proxy, Trap(Moment.HELD_OPEN, strike))
    with pytest.raises(LOST):
        await write(connection, alone=False)
    assert await sprung
    assert struck.is_set()
    assert await grounds.kept() == 0
