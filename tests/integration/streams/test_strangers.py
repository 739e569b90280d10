"""What somebody who has not authenticated can make a gateway hold, and for how long."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from neurogrid.core.http.websockets import STRANGER
from neurogrid.core.settings import LiveSettings
from tests.integration.streams.conftest import Gateway, running_gateway
from tests.integration.streams.test_websocket import client

pytestmark = pytest.mark.asyncio
PATIENCE = 30.0
FIN, TEXT, CONTINUATION, CLOSE = 0x80, 0x1, 0x0, 0x8
KEY = {"Authorization": "Bearer alice-key"}


def frame(opcode: int, payload: bytes, *, announced: int | None = None) -> bytes:
    """Return a client's frame; it may announce more than it has."""
    length = len(payload) if announced is None else announced
    return bytes([opcode, 0x80 | 127]) + struct.pack("!Q", length) + bytes(4) + payload


class Raw:
    """A client that speaks in bytes, as slowly or wrongly as its test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def heard(self, word: bytes) -> None:
        """Read until the server says ``word``."""
        async with asyncio.timeout(PATIENCE):
            await self.reader.readuntil(word)
            await self.reader.readuntil(b"}")

    async def close_code(self) -> int:
        """Read to the end; return the code of the server's close frame."""
        async with asyncio.timeout(PATIENCE):
            while True:
                first, length = await self.reader.readexactly(2)
                if length == 126:
                    length = int.from_bytes(await self.reader.readexactly(2), "big")
                payload = await self.reader.readexactly(length)
                if first & 0xF == CLOSE:
                    return int.from_bytes(payload[:2], "big")


@asynccontextmanager
async def raw(gateway: Gateway, **headers: str) -> AsyncIterator[Raw]:
    """Open a WebSocket by hand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        lines = [
            "GET /v1/ws HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]  # fmt: skip
        writer.write("\r\n".join([*lines, "", ""]).encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        yield Raw(reader, writer)
    finally:
        writer.close()


@pytest.fixture
def patient() -> LiveSettings:
    """Settings under which nobody is cut off for being slow."""
    return LiveSettings(authenticate_within=PATIENCE)


async def test_a_stranger_s_message_is_short(patient: LiveSettings) -> None:
    """A frame that announces 32 MB is cut off when 16 KB of it have come, and so is one made of many."""
    async with running_gateway(patient) as gateway:
        async with raw(gateway) as one:
            await one.send(frame(FIN | TEXT, b"x" * (STRANGER + 100), announced=32 * 1024 * 1024))
            assert await one.close_code() == 1009
        async with raw(gateway) as many:
            await many.send(frame(TEXT, b""))
            for _ in range(STRANGER // 64 + 1):
                await many.send(frame(CONTINUATION, b"x"))
            assert await many.close_code() == 1009
        async with raw(gateway) as whole:
            await whole.send(frame(FIN | TEXT, b'{"type":"ping","x":"' + b"x" * STRANGER + b'"}'))
            assert await whole.close_code() == 1009


async def test_who_is_known_may_say_more(patient: LiveSettings) -> None:
    """Once authenticated, a message may be as long as the settings say, and not much longer than that."""
    async with running_gateway(patient) as gateway:
        async with client(gateway) as alice:
            assert await alice.ask(type="ping", x="x" * (3 * STRANGER)) == {"type": "pong"}
        async with raw(gateway, **KEY) as alice_too:
            await alice_too.heard(b"authenticated")
            long = frame(FIN | TEXT, b'{"type":"ping","x":"' + b"x" * (3 * STRANGER) + b'"}')
            await alice_too.send(long[: 2 * STRANGER])
            await asyncio.sleep(
                0.2
            )  # so that the server holds a part of it, more than it would for a stranger
            await alice_too.send(long[2 * STRANGER :])
            await alice_too.heard(b"pong")
            await alice_too.send(frame(FIN | TEXT, b"x" * 600_000, announced=32 * 1024 * 1024))
            assert await alice_too.close_code() == 1009


async def test_a_slow_stranger_is_cut_off(gateway: Gateway) -> None:
    """Who sends its first message byte by byte has no more time for it than anybody else (4408)."""

    async def drip(slow: Raw) -> None:
        await slow.send(frame(FIN | TEXT, b"", announced=50))
        for _ in range(49):
            await slow.send(b"x")
            await asyncio.sleep(0.1)

    async with raw(gateway) as slow:
        dripping = asyncio.create_task(drip(slow))
        assert await slow.close_code() == 4408
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        assert not gateway.hub.statistics.connections


async def test_a_flood_of_pings_is_one_of_messages(patient: LiveSettings) -> None:
    """Who asks without end is told so (4429), whether or not it reads the answers: it is not too slow (1013)."""
    async with running_gateway(patient) as gateway:
        flood = b"".join(frame(FIN | TEXT, b'{"type":"ping"}') for _ in range(2 * patient.message_burst))
        async with raw(gateway, **KEY) as alice:
            await alice.send(flood)
            assert await alice.close_code() == 4429
