"""Clients that follow a task live, are cut off at random, and resume at another gateway."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from neurogrid.client.sse import Parser
from neurogrid.drill.records import OwnerRecord, StreamRecord
from neurogrid.protocol.events import START, EventId

SILENCE = 6.0
"""Seconds without a byte after which a connection is taken for dead; gateways speak every two."""
AGAIN_AFTER = 0.3
CUT_SHARE = 0.6
LONGEST_CUT = 3.0

LOST = (OSError, TimeoutError, httpx.TransportError, WebSocketException)


class Refused(Exception):
    """The gateway does not serve the stream now."""


class Followers:
    """Follow tasks at the ``gateways`` (their URLs). Until ``calm``, connections are cut at random."""

    def __init__(self, gateways: Sequence[str], http: httpx.AsyncClient, api_key: str) -> None:
        """Follow with ``api_key``; ``http`` carries those over SSE."""
        self._gateways = gateways
        self._http = http
        self._key = {"Authorization": f"Bearer {api_key}"}
        self.calm = False
        self.open = 0
        """How many streams are not over."""

    async def follow(
        self, record: StreamRecord, choose: random.Random, leaves_after: float | None = None
    ) -> None:
        """Follow until the task is over, or go away for good after so many seconds."""
        self.open += 1
        try:
            async with asyncio.timeout(leaves_after):
                await self._follow(record, choose)
        except TimeoutError:
            record.left = True
        finally:
            self.open -= 1

    async def _follow(self, record: StreamRecord, choose: random.Random) -> None:
        while not record.ended:
            record.connections += 1
            listen = self._sse if record.transport == "sse" else self._websocket
            with contextlib.suppress(Refused, *LOST):
                async with asyncio.timeout(self._cut_after(choose)):
                    await self._listen(listen(choose.choice(self._gateways), record), record)
            if not record.ended:
                await asyncio.sleep(AGAIN_AFTER)

    async def follow_all(self, record: OwnerRecord, choose: random.Random) -> None:
        """Follow the state events of all tasks, until cancelled."""
        while True:
            record.connections += 1
            with contextlib.suppress(Refused, *LOST):
                async with asyncio.timeout(self._cut_after(choose)):
                    gateway = choose.choice(self._gateways)
                    async with contextlib.aclosing(self._socket(gateway, "tasks", record.cursor)) as messages:
                        async for message in messages:
                            _take(record, message)
            await asyncio.sleep(AGAIN_AFTER)

    def _cut_after(self, choose: random.Random) -> float | None:
        cut = choose.random() < CUT_SHARE
        seconds = choose.uniform(0.05, LONGEST_CUT)
        return seconds if cut and not self.calm else None

    async def _listen(self, events: AsyncGenerator[Any, None], record: StreamRecord) -> None:
        async with contextlib.aclosing(events) as source:
            async for event in source:
                record.take(EventId.parse(event["id"]), event["type"], event["data"])

    async def _sse(self, gateway: str, record: StreamRecord) -> AsyncGenerator[Any, None]:
        headers = {**self._key, "Accept": "text/event-stream"}
        if record.last > START:
            headers["Last-Event-ID"] = str(record.last)
        parser = Parser()
        url = f"{gateway}/v1/tasks/{record.task}/events"
        async with self._http.stream("GET", url, headers=headers, timeout=SILENCE) as response:
            if response.status_code == httpx.codes.NO_CONTENT:
                record.over()
                return
            if response.status_code != httpx.codes.OK:
                raise Refused
            async for piece in response.aiter_bytes():
                for message in parser.feed(piece):
                    yield orjson.loads(message.data)

    async def _websocket(self, gateway: str, record: StreamRecord) -> AsyncGenerator[Any, None]:
        after = str(record.last) if record.last > START else None
        async with contextlib.aclosing(self._socket(gateway, f"task:{record.task}", after)) as messages:
            async for message in messages:
                if message["type"] == "event":
                    yield message["event"]
                    if record.ended:
                        return

    async def _socket(self, gateway: str, channel: str, after: str | None) -> AsyncGenerator[Any, None]:
        """Subscribe to a channel, and yield every message that comes."""
        socket = await connect(
            f"{gateway.replace('http', 'ws', 1)}/v1/ws",
            additional_headers=self._key,
            compression=None,
            proxy=None,
            open_timeout=SILENCE,
            ping_interval=SILENCE / 2,
            ping_timeout=SILENCE / 2,
        )
        try:
            request = {"type": "subscribe", "channel": channel, "after": after}
            await socket.send(orjson.dumps(request), text=True)
            async for frame in socket:
                message = orjson.loads(frame)
                if message["type"] == "error":
                    raise Refused
                yield message
        finally:
            socket.transport.abort()  # no goodbye: that is what a cut looks like


def _take(record: OwnerRecord, message: Any) -> None:
    if message["type"] == "subscribed":
        record.cursor = record.cursor or message["cursor"]
    elif message["type"] == "event":
        event = message["event"]
        record.take(event["task_id"], EventId.parse(event["id"]), message["cursor"])
