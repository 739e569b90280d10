"""A node reaches its gateway over a real WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from neurogrid.agent.agent import Agent
from neurogrid.agent.connect import Backoff, NodeRefused, web_socket
from neurogrid.protocol.frames import decode_from_node, encode
from neurogrid.protocol.link import LinkClosed
from neurogrid.protocol.messages import Hello, Welcome
from tests.support.node import Puppet
from tests.support.until import until

pytestmark = pytest.mark.asyncio

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def gateway(handle: Handler, status: HTTPStatus | None = None) -> AsyncIterator[str]:
    """Serve on a free port; with ``status``, answer every handshake with it."""

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(status, "no") if status else None

    async with serve(handle, "127.0.0.1", 0, process_request=refuse) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_node_authenticates_and_speaks_text() -> None:
    """The token travels in the Authorization header, messages as text frames on the documented path."""
    seen: list[tuple[str, str | None]] = []
    hello: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append((connection.request.path, connection.request.headers.get("Authorization")))
        frame = await connection.recv()
        assert isinstance(frame, str)
        await connection.send(encode(Welcome("n", "s", 10, 3)), text=True)
        hello.set_result(decode_from_node(frame))
        await connection.wait_closed()

    async with gateway(handle) as url:
        agent = Agent("node", "1", [Puppet()], slots=1, connect=web_socket(url, "secret"))
        run = asyncio.create_task(agent.run())
        await agent.connected.wait()
        assert isinstance(await hello, Hello)
        await agent.drain(0)
        await run
    assert seen == [("/v1/nodes/connect", "Bearer secret")]


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
async def test_refused_handshake_ends_the_node(status: HTTPStatus) -> None:
    """A token the gateway does not know is not tried again and again."""

    async def handle(connection: ServerConnection) -> None: ...

    async with gateway(handle, status) as url:
        with pytest.raises(NodeRefused, match=str(status.value)):
            await Agent("node", "1", [], slots=1, connect=web_socket(url, "wrong")).run()


async def test_other_answers_are_tried_again() -> None:
    """A gateway that is starting up, or is not there, is no refusal."""

    async def handle(connection: ServerConnection) -> None: ...

    async with gateway(handle, HTTPStatus.SERVICE_UNAVAILABLE) as url:
        with pytest.raises(OSError, match="503"):
            await web_socket(url, "token")()
    with pytest.raises(OSError):
        await web_socket(url, "token")()


async def test_the_next_gateway_is_tried() -> None:
    """Of several gateways a node goes to the next when one is away or ends the connection, round and round."""
    seen: list[str] = []

    def named(name: str) -> Handler:
        async def handle(connection: ServerConnection) -> None:
            seen.append(name)
            await connection.recv()
            await connection.send(encode(Welcome("n", "s", 10, 3)), text=True)
            await connection.close(1012, "restarting")

        return handle

    async with gateway(named("a")) as first, gateway(named("b")) as second:
        connect = web_socket([first, "127.0.0.1:1", second], "token")
        agent = Agent("node", "1", [Puppet()], slots=1, connect=connect, backoff=Backoff(0.01, 0.05))
        run = asyncio.create_task(agent.run())
        await until(lambda: len(seen) >= 5, what="the node has gone round twice")
        run.cancel()
        await asyncio.wait({run})
    assert seen[:5] == ["a", "b", "a", "b", "a"]


async def test_close_code_and_reason_arrive() -> None:
    """The node learns why the gateway closed."""

    async def handle(connection: ServerConnection) -> None:
        await connection.close(4401, "this token was revoked")

    async with gateway(handle) as url:
        link = await web_socket(url, "token")()
        with pytest.raises(LinkClosed) as closed:
            await link.receive()
        assert (closed.value.code, closed.value.reason) == (4401, "this token was revoked")
        with pytest.raises(LinkClosed):
            await link.send(b"{}")
        await link.close()


async def test_large_frames_pass() -> None:
    """A result of the largest size allowed fits through, both ways."""

    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with (
        serve(handle, "127.0.0.1", 0, max_size=None) as server,
    ):
        link = await web_socket(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "token")()
        frame = b'"' + b"x" * 17_000_000 + b'"'
        sent = asyncio.create_task(link.send(frame))
        assert len(await link.receive()) == len(frame)
        await sent
        await link.close()
