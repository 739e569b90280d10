"""``neurogrid serve``: a gateway."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurogrid.cli.failures import Failure
from neurogrid.cli.holding import only_gateway
from neurogrid.cli.options import DataDir
from neurogrid.cli.service import keyed, load_settings, require_migrated
from neurogrid.cli.waiting import is_awaited, wait_for_database

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from neurogrid.core.settings import Settings

FACTORY = "neurogrid.cli.serve:application"
"""What the processes of ``--workers`` and ``--reload`` load; they read the settings anew."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one.", show_default="8000")] = None,
    workers: Annotated[
        int, typer.Option(help="Processes; more than one takes PostgreSQL and Redis.", min=1)
    ] = 1,
    reload: Annotated[bool, typer.Option("--reload", help="Restart when the code changes.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Run a gateway, without a node. The database must be migrated; one that is away is waited for.

    Examples:

        NEUROGRID_DATABASE_URL=postgresql://… NEUROGRID_REDIS_URL=redis://… neurogrid serve --host 0.0.0.0

        neurogrid serve --reload
    """
    settings = keyed(load_settings(host=host, port=port, data_dir=data_dir))
    if workers > 1 and (settings.on_sqlite or settings.redis_url is None):
        raise Failure(
            "several workers need PostgreSQL and Redis",
            hint="Set NEUROGRID_DATABASE_URL and NEUROGRID_REDIS_URL, or leave out --workers.",
        )
    url, may_be_away = settings.effective_database_url, is_awaited(settings)
    if not may_be_away:
        require_migrated(url)
    configure_logging(settings)
    with only_gateway(settings), listen(settings.host, settings.port) as listener:
        if may_be_away:
            if not wait_for_database(settings, listener):
                return
            require_migrated(url)
        if workers > 1 or reload:
            _supervise(settings, listener, workers, reload=reload)
            return
        from neurogrid.app import create_app

        run_server(create_app(settings), settings, listener)


def application() -> FastAPI:
    """Build the gateway in a process of ``--workers`` or ``--reload``."""
    from neurogrid.app import create_app

    settings = keyed(load_settings())
    configure_logging(settings)
    return create_app(settings)


def configure_logging(settings: Settings, *, quiet: bool = False) -> None:
    """Send the logs of a server process to stdout; ``quiet``: only warnings, unless the settings say."""
    from neurogrid.core import logging

    level = "WARNING" if quiet and "log_level" not in settings.model_fields_set else settings.log_level
    try:
        logging.configure(level, json=settings.log_json, stream=sys.stdout)
    except ValueError as error:
        raise Failure(str(error)) from None


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ``Failure`` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        hint = "Choose another port by --port, or stop what listens there."
        raise Failure(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from None
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL at which this machine reaches ``listener``."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _settle_memory() -> None:
    """Let the collector pass over what lives as long as the process, and come less often.

    Full collections over all modules and routes were most of the pauses under load: p99 of a submission
    fell from 125 to 45 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def run_server(
    app: FastAPI,
    settings: Settings,
    listener: socket.socket,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Serve ``app`` until SIGTERM or Ctrl-C, then stop gracefully and return.

    ``on_start`` is called when requests are answered. Raises ``Failure`` when the app does not start.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _settle_memory()
                on_start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Live streams would be waited for in vain: the app ends them, if it is told before that.
            getattr(app.state, "stop_accepting", lambda: None)()
            await super().shutdown(sockets)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            self._captured_signals.clear()  # or it would kill us at the end: a graceful stop is a success

    server = Server(_server_config(app, settings))
    server.run(sockets=[listener])
    if not server.started:
        raise Failure("the gateway did not start", hint="The log above says why.", code=1)


def _server_config(app: FastAPI | str, settings: Settings, **more: Any) -> uvicorn.Config:
    import uvicorn

    from neurogrid.core.http.websockets import LARGEST, BoundedWebSocket

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws=BoundedWebSocket,
        ws_per_message_deflate=False,
        ws_max_size=LARGEST,
        ws_ping_interval=settings.live.heartbeat,
        ws_ping_timeout=settings.live.heartbeat,
        timeout_graceful_shutdown=round(settings.grid.shutdown_grace),
        **more,
    )


def _supervise(settings: Settings, listener: socket.socket, workers: int, *, reload: bool) -> None:
    from uvicorn.supervisors import ChangeReload, Multiprocess

    os.environ["NEUROGRID_DATA_DIR"] = str(settings.data_dir)
    package = Path(__file__).resolve().parents[1]
    more: dict[str, Any] = {"reload": True, "reload_dirs": [str(package)]} if reload else {"workers": workers}
    config = _server_config(FACTORY, settings, factory=True, **more)
    if reload:
        import uvicorn

        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()
    else:
        Multiprocess(config, sockets=[listener]).run()
