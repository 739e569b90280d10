"""The gateway put together: the only place that wires everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI

from neurogrid import __version__
from neurogrid.admin import audit, users
from neurogrid.admin import router as admin
from neurogrid.admin import usage as admin_usage
from neurogrid.auth import documents
from neurogrid.auth import router as auth
from neurogrid.core import health
from neurogrid.core.background import Background
from neurogrid.core.http import docs, metrics, middleware, openapi, problems
from neurogrid.core.http.proxies import TrustedProxies
from neurogrid.core.http.templates import Templates
from neurogrid.core.settings import Settings
from neurogrid.dispatch import router as node_sockets
from neurogrid.factors import passkeys
from neurogrid.factors import router as factors
from neurogrid.gateway import Gateway
from neurogrid.keys import router as keys
from neurogrid.limits import router as limits
from neurogrid.limits.headers import LimitHeaders
from neurogrid.nodes import router as nodes
from neurogrid.oauth import router as oauth
from neurogrid.protocol.link import Link, in_process_links
from neurogrid.streams import router as streams
from neurogrid.tasks import router as tasks
from neurogrid.usage import router as usage

log = structlog.get_logger(__name__)

ROUTERS = tuple(
    module.router
    for module in (
        auth, oauth, factors, passkeys, keys, tasks, streams, nodes, node_sockets, admin, users, audit, limits, usage,
        admin_usage, health,
    )
)  # fmt: skip
TEMPLATES = Templates(ROUTERS)

Connect = Callable[[], Awaitable[Link]]
Companion = Callable[[Connect], AbstractAsyncContextManager[None]]
"""Something that runs beside the gateway in its process and may attach to it as a node."""

DESCRIPTION = """One durable, live service in front of all your models.

Submit a task with `POST /v1/tasks`; watch it with `GET /v1/tasks/{id}/events` or over the WebSocket `/v1/ws`.
Send your API key as `Authorization: Bearer ng_…`, or sign in with your password (press *Authorize*).
"""


def create_app(settings: Settings, companion: Companion | None = None) -> FastAPI:
    """Return the gateway as an ASGI application; nothing is opened before its lifespan begins."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(_running(Gateway(settings)))
            app.state.stop_accepting = gateway.stop_accepting
            if companion is not None:
                await stack.enter_async_context(companion(_connector(gateway, stack)))
            yield gateway.state()

    app = FastAPI(
        title="NeuroGrid",
        version=__version__,
        summary="A self-hosted AI task grid.",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # its redirects repeat whatever Host and path the caller sent
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.enable_api_docs else None,
    )
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app, TEMPLATES)
    openapi.install(app)
    documents.install(app)
    if settings.enable_api_docs:
        docs.install(app)
    metrics.install(app, TEMPLATES)
    middleware.install(app, settings.tasks, settings.access)
    app.add_middleware(LimitHeaders)
    if settings.limits.trusted_proxies:
        app.add_middleware(TrustedProxies, networks=settings.limits.trusted_proxies)
    return app


@asynccontextmanager
async def _running(gateway: Gateway) -> AsyncIterator[Gateway]:
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


def _connector(gateway: Gateway, stack: AsyncExitStack) -> Connect:
    background = Background()
    stack.push_async_callback(background.close)

    async def connect() -> Link:
        ours, theirs = in_process_links()
        background.spawn(gateway.gate.serve(ours, embedded=True), "node.embedded")
        return theirs

    return connect
