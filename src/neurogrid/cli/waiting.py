"""A gateway that starts while its database is away: alive, not ready, and saying so until it answers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import structlog

from neurogrid.cli import own_servers
from neurogrid.cli.failures import UNREACHABLE, Failure

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from neurogrid.core.db import Database
    from neurogrid.core.settings import Settings

ASK_EVERY = 0.5
"""Seconds between attempts to reach a database that is away."""
ANSWERS_END_WITHIN = 1

log = structlog.get_logger(__name__)


def is_awaited(settings: Settings) -> bool:
    """Tell whether waiting may help: a file is there or not, and servers of ``up`` start with it alone."""
    return not settings.on_sqlite and not own_servers.are_used(settings)


def wait_for_database(settings: Settings, listener: socket.socket) -> bool:
    """Return ``True`` once the database answers, ``False`` when the process was told to stop before.

    Until then ``listener`` answers: 200 at `/health/live`, 503 everywhere else, so that a supervisor neither
    sends requests nor takes the process for dead. Raises ``Failure`` after ``settings.database_wait`` seconds,
    and at once what waiting cannot mend, such as a wrong password.
    """
    return asyncio.run(_wait(settings, listener))


async def _wait(settings: Settings, listener: socket.socket) -> bool:
    from neurogrid.core.db import Database

    database = Database(settings.effective_database_url, pool_size=1)
    try:
        reason = await _reason_away(database)
        if reason is None:
            return True
        log.warning("database.awaited", error=reason, seconds=settings.database_wait)
        async with _answering(settings, listener) as stopped:
            answered = await _until_it_answers(database, settings.database_wait, stopped)
        if answered:
            log.info("database.answers")
        return answered
    finally:
        await database.close()


async def _until_it_answers(database: Database, seconds: float, stopped: asyncio.Future[Any]) -> bool:
    deadline = time.monotonic() + seconds
    while not stopped.done():
        reason = await _reason_away(database)
        if reason is None:
            return True
        if time.monotonic() >= deadline:
            hint = "Is it running? NEUROGRID_DATABASE_WAIT says for how many seconds it is waited for."
            raise Failure(f"the database is away: {reason}", hint=hint, code=UNREACHABLE)
        await asyncio.wait({stopped}, timeout=ASK_EVERY)
    return False


async def _reason_away(database: Database) -> str | None:
    from sqlalchemy import literal, select

    from neurogrid.core.db import is_away

    try:
        await database.first(select(literal(1)))
    except Exception as error:
        if not is_away(error):
            raise
        return str(error) or type(error).__name__
    return None


@asynccontextmanager
async def _answering(settings: Settings, listener: socket.socket) -> AsyncIterator[asyncio.Future[Any]]:
    """Answer on ``listener`` for the length of the block; the future is done when a signal ends it before."""
    server = _server(settings)
    # A duplicate, because the server closes it: those who connect between two servers wait in its queue.
    serving = asyncio.create_task(server.serve(sockets=[listener.dup()]), name="waiting")
    try:
        yield serving
    finally:
        server.should_exit = True
        await serving


def _server(settings: Settings) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            self._captured_signals.clear()  # or it would kill us at the end: a graceful stop is a success

    config = uvicorn.Config(
        _application(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=ANSWERS_END_WITHIN,
    )
    return Server(config)


def _application(settings: Settings) -> FastAPI:
    from fastapi import FastAPI

    from neurogrid.core import health
    from neurogrid.core.http import middleware
    from neurogrid.core.http.problems import database_away

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"health": health.HealthChecks({"database": _away}, {})}

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await database_away()(scope, receive, send)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.include_router(health.router)
    app.router.default = refuse
    middleware.install(app, settings.tasks)
    return app


async def _away() -> str:
    return "away; this gateway waits for it"
