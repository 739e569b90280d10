"""A lean WebSocket client: knows the frames of a server that neither masks nor compresses, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from typing import Self, cast

from benchmarks.http_load import HOST

PATH = "/v1/ws"
_TEXT = 1
_TEXT_FRAME = 0x81
_MASKED = 0x80
_SHORT, _LONG = 126, 127


class Socket(asyncio.Protocol):
    """One connection to the live WebSocket, authenticated at the handshake.

    ``on_text`` is called with every message. ``closed`` is done when the server has hung up.
    """

    def __init__(self, on_text: Callable[[memoryview], None]) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._open: asyncio.Future[None] = loop.create_future()
        self._on_text = on_text
        self._transport: asyncio.Transport | None = None
        self._rest = b""

    @classmethod
    async def open(cls, port: int, key: str, on_text: Callable[[memoryview], None]) -> Self:
        """Connect. Raises ``ConnectionError``."""
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(lambda: cls(on_text), HOST, port)
        await socket.shake_hands(key)
        return socket

    async def shake_hands(self, key: str) -> None:
        """Become a WebSocket. Raises ``ConnectionError``."""
        assert self._transport is not None
        nonce = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            (
                f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\nAuthorization: Bearer {key}\r\n\r\n"
            ).encode()
        )
        await self._open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._open.done():
            self._open.set_exception(exc or ConnectionResetError())
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._open.done():
            head, separator, data = data.partition(b"\r\n\r\n")
            if not separator:
                self._rest = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._open.set_exception(ConnectionError(head.decode(errors="replace")))
                return
            self._open.set_result(None)
        self._rest = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        """Hand out whole frames; return what is left."""
        view = memoryview(data)
        end, start = len(data), 0
        while end - start >= 2:
            length, head = data[start + 1], 2
            if length == _SHORT:
                head = 4
                length = int.from_bytes(data[start + 2 : start + 4], "big")
            elif length == _LONG:
                head = 10
                length = int.from_bytes(data[start + 2 : start + 10], "big")
            if end - start < head + length:
                break
            if data[start] & 0x0F == _TEXT:
                self._on_text(view[start + head : start + head + length])
            start += head + length
        return data[start:]

    def send(self, text: str) -> None:
        """Send one message of less than 64 KiB, masked with zeros."""
        assert self._transport is not None
        payload = text.encode()
        if len(payload) < _SHORT:
            head = struct.pack("!BB", _TEXT_FRAME, _MASKED | len(payload))
        else:
            head = struct.pack("!BBH", _TEXT_FRAME, _MASKED | _SHORT, len(payload))
        self._transport.write(head + bytes(4) + payload)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
