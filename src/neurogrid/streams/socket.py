"""The WebSocket protocol of ``/v1/ws``: one session per client (design §4)."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from neurogrid.auth.policy import Identity, Permission
from neurogrid.auth.service import AuthService
from neurogrid.core.db import is_away
from neurogrid.core.errors import Forbidden, GridError, Unauthenticated
from neurogrid.core.http.addresses import client_address
from neurogrid.core.http.websockets import STRANGER, allow
from neurogrid.protocol.events import START, EventId
from neurogrid.streams.admin import CHANNEL as ADMIN
from neurogrid.streams.allowance import Allowance
from neurogrid.streams.credentials import Expiry, handshake_token
from neurogrid.streams.frames import message, websocket_event
from neurogrid.streams.hub import Hub
from neurogrid.streams.outlet import (
    GONE,
    NOT_YOURS,
    SILENT,
    TOO_BIG,
    TOO_MANY,
    TOO_SLOW,
    UNAUTHENTICATED,
    Close,
)

log = structlog.get_logger(__name__)

CHANNELS = ("system", "stats", "tasks", "task:<id>", "admin")
LARGER = 8
"""How much longer than allowed a message may be and still be refused rather than the connection closed, in bytes for
each character: a character has up to four of them."""
_SHOWN = 80


class ClientMessage(msgspec.Struct):
    """What a client may send. Fields that a type does not use are ignored."""

    type: str
    token: str | None = None
    channel: str | None = None
    after: str | None = None


_decode = msgspec.json.Decoder(ClientMessage).decode


class Refusal(Exception):
    """The client is told ``code`` and ``text``; the connection stays."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Session:
    """Reads what one client says and sends what the hub has for it. Holds no database session."""

    def __init__(self, websocket: WebSocket, hub: Hub, auth: AuthService) -> None:
        self._websocket = websocket
        self._hub = hub
        self._auth = auth
        self._connection = hub.connect()
        self._outlet = self._connection.outlet
        self._expiry = Expiry(self._warn, lambda: self._outlet.close(UNAUTHENTICATED))
        self._allowance = Allowance(hub.live.messages_per_second, hub.live.message_burst)

    async def run(self) -> None:
        """Serve the client until it goes or has to."""
        try:
            token, subprotocol = handshake_token(self._websocket)
            await self._websocket.accept(subprotocol)
            self._say("welcome", heartbeat=self._hub.live.heartbeat, channels=CHANNELS)
            reader = asyncio.create_task(self._read(token))
            try:
                await self._write()
            finally:
                reader.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reader
        except WebSocketDisconnect:
            pass
        finally:
            self._expiry.cancel()
            self._outlet.close(GONE)
            self._hub.disconnect(self._connection)

    async def _write(self) -> None:
        stall = self._hub.live.heartbeat
        try:
            while (frame := await self._outlet.next()) is not None:
                async with asyncio.timeout(stall):
                    await self._websocket.send({"type": "websocket.send", "text": frame})
            close = self._outlet.closing or GONE
            async with asyncio.timeout(stall):
                await self._websocket.close(close.code, close.reason)
        except TimeoutError:
            # The client takes nothing, not even the close frame; leaving ends the connection.
            self._outlet.close(TOO_SLOW)

    async def _read(self, token: str | None) -> None:
        try:
            await self._first_contact(token)
            while not self._outlet.closing:
                await self._handle(await self._receive())
        except WebSocketDisconnect:
            self._outlet.close(GONE)
        except Exception as error:
            if is_away(error):
                log.warning("database.away", error=repr(error))
                self._outlet.close(Close(1013, "the database is away; try again"))
                return
            log.exception("websocket_failed")
            self._outlet.close(Close(1011, "internal error"))

    async def _first_contact(self, token: str | None) -> None:
        if token is not None:
            await self._authenticate(token)
            return
        try:
            async with asyncio.timeout(self._hub.live.authenticate_within):
                while self._connection.identity is None and not self._outlet.closing:
                    await self._handle(await self._receive())
        except TimeoutError:
            self._outlet.close(SILENT)

    async def _receive(self) -> str | bytes:
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        frame: str | bytes | None = received.get("text")
        return received["bytes"] if frame is None else frame

    async def _handle(self, text: str | bytes) -> None:
        if not self._allowance.take():
            self._outlet.close(TOO_MANY)
            return
        # An answer to each message waits until the ones before it are on their way: a client that only asks and
        # never listens is held up, and is told that it asks too much rather than that it is too slow.
        if not await self._outlet.wait_for_room():
            return
        channel: str | None = None
        try:
            request = self._parse(text)
            channel = request.channel
            await self._answer(request)
        except Refusal as refusal:
            self._say("error", code=refusal.code, message=refusal.text, channel=_shown(channel))
        except GridError as error:
            self._say("error", code=error.code, message=error.detail, channel=_shown(channel))

    def _parse(self, text: str | bytes) -> ClientMessage:
        if isinstance(text, bytes):
            raise Refusal("malformed", "Send text frames, not binary ones.")
        longest = self._hub.live.max_message
        if self._connection.identity is None and len(text) > STRANGER:
            self._outlet.close(TOO_BIG)
            raise Refusal("too_large", TOO_BIG.reason)
        if len(text) > longest:
            raise Refusal("too_large", f"A message may be {longest} characters long.")
        try:
            return _decode(text)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise Refusal("malformed", f"Not a message of this protocol: {error}") from error

    async def _answer(self, request: ClientMessage) -> None:
        if request.type == "authenticate":
            if not request.token:
                raise Refusal("invalid", "`token` is missing.")
            await self._authenticate(request.token)
            return
        if request.type == "ping":
            self._say("pong")
            return
        identity = self._connection.identity
        if identity is None:
            raise Refusal("unauthenticated", 'First send {"type":"authenticate","token":…}.')
        match request.type:
            case "subscribe":
                await self._subscribe(identity, _channel_of(request), request.after)
            case "unsubscribe":
                self._unsubscribe(_channel_of(request))
            case "list":
                self._say("channels", channels=list(self._connection.leave), available=CHANNELS)
            case other:
                raise Refusal("unknown_type", f"There is no message of type {_shown(other)!r}.")

    async def _authenticate(self, token: str) -> None:
        try:
            identity = await self._auth.identify(token)
        except Unauthenticated as error:
            self._say("error", code=error.code, message=error.detail)
            self._outlet.close(UNAUTHENTICATED)
            return
        if not identity.may_come_from(client_address(self._websocket.scope)):
            self._outlet.close(NOT_YOURS)
            return
        known = self._connection.identity
        if known is not None and known.user_id != identity.user_id:
            raise Refusal("conflict", "This connection is another user's; open a new one.")
        if not identity.may(Permission.TASKS_READ):
            self._outlet.close(NOT_YOURS)
            return
        self._hub.authenticated(self._connection, identity)
        allow(self._websocket, LARGER * self._hub.live.max_message)
        self._say("authenticated", user_id=identity.user_id, expires_at=identity.expires_at)
        self._expiry.set(identity.expires_at)
        if not self._hub.admin.open_to(identity) and self._leave(
            ADMIN
        ):  # renewed by a credential that is good for less
            self._say("unsubscribed", channel=ADMIN)

    def _warn(self, expires_at: datetime) -> None:
        self._say("expiring", expires_at=expires_at)

    async def _subscribe(self, identity: Identity, channel: str, after: str | None) -> None:
        subscribed = self._connection.leave
        if channel not in subscribed and len(subscribed) >= self._hub.live.max_subscriptions:
            raise Refusal("too_many_subscriptions", f"At most {self._hub.live.max_subscriptions} channels.")
        kind, colon, task_id = channel.partition(":")
        if kind == "task" and colon:
            await self._subscribe_task(identity, channel, task_id, after)
        elif channel == "tasks":
            cursor = await self._hub.tasks_cursor(identity.user_id, after)
            self._leave(channel)
            self._say("subscribed", channel=channel, cursor=cursor)
            self._hub.follow_owner(self._connection, identity.user_id, cursor)
        elif channel in {"system", "stats"}:
            self._leave(channel)
            self._say("subscribed", channel=channel)
            self._hub.follow_broadcast(self._connection, channel)
        elif channel == ADMIN:
            if not self._hub.admin.open_to(identity):
                raise Forbidden("This channel is for operators and administrators.")
            await self._hub.admin.begin()
            self._leave(channel)
            self._say("subscribed", channel=channel)
            self._hub.admin.follow(self._connection)
        else:
            raise Refusal("unknown_channel", f"There is no such channel; there are {', '.join(CHANNELS)}.")

    async def _subscribe_task(
        self, identity: Identity, channel: str, task_id: str, after: str | None
    ) -> None:
        try:
            cursor = START if after is None else EventId.parse(after)
        except ValueError as error:
            raise Refusal("bad_cursor", f"`after`: {error}.") from error
        await self._hub.check_owner(identity, task_id)
        self._leave(channel)
        self._say("subscribed", channel=channel)
        self._hub.follow_task(self._connection, task_id, cursor, websocket_event)

    def _unsubscribe(self, channel: str) -> None:
        if not self._leave(channel):
            raise Refusal("not_subscribed", "You do not follow this channel.")
        self._say("unsubscribed", channel=channel)

    def _leave(self, channel: str) -> bool:
        leave = self._connection.leave.pop(channel, None)
        if leave is not None:
            leave()
        return leave is not None

    def _say(self, type: str, **fields: object) -> None:
        self._outlet.offer(message(type, **fields))


def _channel_of(request: ClientMessage) -> str:
    if not request.channel:
        raise Refusal("invalid", "`channel` is missing.")
    return request.channel


def _shown(text: str | None) -> str | None:
    return text if text is None else text[:_SHOWN]
