"""A small gateway that answers by the contract, and breaks where a test tells it to."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

Script = Callable[[Request], Response]
AT = "2026-11-22T10:00:00.000000Z"
TASK = "019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10"


def task_json(**changed: Any) -> dict[str, Any]:
    """Return a task as a gateway renders it."""
    return {
        "id": TASK,
        "object": "task",
        "status": "completed",
        "model": "debug.echo",
        "input": "hello",
        "parameters": {},
        "output": {"text": "abc", "finish_reason": "stop"},
        "error": None,
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5, "compute_seconds": 0.5},
        "cached": False,
        "priority": "normal",
        "wait_reason": None,
        "attempt": 1,
        "errors": 0,
        "max_attempts": 3,
        "dead_letter": False,
        "node": "n1",
        "metadata": {},
        "created_at": AT,
        "started_at": AT,
        "finished_at": AT,
        "processing_time_ms": 500,
        **changed,
    }


def event(id: str, type: str, **data: Any) -> bytes:
    """Return an event as it goes over the wire."""
    raw = orjson.dumps({"id": id, "type": type, "task_id": TASK, "at": AT, "data": data})
    return b"id: " + id.encode() + b"\nevent: " + type.encode() + b"\ndata: " + raw + b"\n\n"


STORY = [
    event("0-1", "task.queued"),
    event("1-1", "task.running"),
    event("1-2", "task.chunk", text="a"),
    event("1-3", "task.chunk", text="bé"),
    event("1-4", "task.chunk", text="c"),
    event("1-5", "task.completed", status="completed"),
]
IDS = ["0-1", "1-1", "1-2", "1-3", "1-4", "1-5"]


class StandIn:
    """Answers as told. ``scripts`` maps ``METHOD /path`` to one answer after the other; the last one stays."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.scripts: dict[str, list[Callable[[Request], Response]]] = {}

    def answer(self, route: str, *answers: Callable[[Request], Response]) -> None:
        """Set what ``route`` answers."""
        self.scripts[route] = list(answers)

    def seen(self, route: str) -> list[dict[str, str]]:
        """Return the headers of the requests that ``route`` got."""
        return [headers for name, headers, _ in self.requests if name == route]

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        route = f"{request.method} {request.url.path}"
        self.requests.append((route, dict(request.headers), await request.body()))
        script = self.scripts.get(route)
        if not script:
            return problem(404, "not_found", f"no script for {route}")(request)
        return (script.pop(0) if len(script) > 1 else script[0])(request)


def json(value: Any, status: int = 200, **headers: str) -> Callable[[Request], Response]:
    """Answer with a document."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda _: Response(orjson.dumps(value), status, named, "application/json")


def problem(status: int, code: str, detail: str, **headers: str) -> Callable[[Request], Response]:
    """Answer with a problem."""
    errors = [{"field": "input", "message": "wrong"}] if status == 422 else []
    value = {"code": code, "detail": detail, "status": status, "request_id": "r-1", "errors": errors}
    return json(value, status, **headers)


def events(*pieces: bytes, cut: bool = False) -> Callable[[Request], Response]:
    """Stream ``pieces`` and end; with ``cut`` the connection breaks in the middle of the answer."""

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)
        if cut:
            raise ConnectionAbortedError

    return lambda _: StreamingResponse(stream(), media_type="text/event-stream")


def resumable(story: list[bytes] = STORY) -> Callable[[Request], Response]:
    """Stream ``story`` from after the ``Last-Event-ID``."""

    def answer(request: Request) -> Response:
        last = request.headers.get("last-event-id")
        ids = [piece.split(b"\n", 1)[0].removeprefix(b"id: ").decode() for piece in story]
        return events(*story[ids.index(last) + 1 if last else 0 :])(request)

    return answer


@contextmanager
def running() -> Iterator[StandIn]:
    """Serve a stand-in on a port of its own, in a thread."""
    stand_in = StandIn()
    app = Starlette(routes=[Route("/{path:path}", stand_in.handle, methods=["GET", "POST", "PUT", "DELETE"])])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        stand_in.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        listener.listen()  # from here on connections wait for the server instead of being refused
        thread.start()
        try:
            yield stand_in
        finally:
            server.should_exit = True
            thread.join(30)
