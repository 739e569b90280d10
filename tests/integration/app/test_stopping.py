"""What clients hear from a server that stops while it works for them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from neurogrid.core.http import middleware, problems
from neurogrid.core.settings import TaskSettings
from tests.support.plain import NOBODY
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def test_a_request_cut_off_by_the_end_is_no_error_500() -> None:
    """It is told that nobody knows whether it was done, as a problem; it may ask another gateway."""
    app, asked = FastAPI(), asyncio.Event()

    @app.post("/slow")
    async def slow() -> None:
        asked.set()
        await asyncio.sleep(600)

    problems.install(app)
    middleware.install(app, TaskSettings())
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, lifespan="off"))
    server.capture_signals = nullcontext  # type: ignore[assignment, method-assign]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started, what="the server has started")
        async with httpx.AsyncClient(trust_env=False, verify=NOBODY, timeout=30) as client:
            asking = asyncio.create_task(client.post(f"http://127.0.0.1:{listener.getsockname()[1]}/slow"))
            await asked.wait()
            server.should_exit = True
            answer = await asking
        await serving
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "outcome_unknown"
