"""``neurogrid up``: gateway, node and data in one process, with nothing to configure (OPS-1)."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurogrid.cli import connection, own_servers, screen
from neurogrid.cli.holding import held, only_gateway
from neurogrid.cli.models import MODELS_DIR
from neurogrid.cli.node import build_runners
from neurogrid.cli.options import DataDir
from neurogrid.cli.serve import configure_logging, listen, run_server, url_of
from neurogrid.cli.service import given_settings, keyed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from neurogrid.cli.embedded import EmbeddedNode
    from neurogrid.core.settings import Settings
    from neurogrid.protocol.messages import ModelSpec
    from neurogrid.runners.catalog import LoadState

NODE_NAME = "embedded"
OUTBOX = "outbox"
USUAL = "smollm2-135m"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(up)


def up(
    servers: Annotated[
        bool,
        typer.Option("--servers", help="On a private PostgreSQL and Valkey instead of SQLite and memory."),
    ] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one.", show_default="8000")] = None,
    data_dir: DataDir = None,
    no_node: Annotated[bool, typer.Option("--no-node", help="Run no models here.")] = False,
    models: Annotated[
        str | None, typer.Option(help="What to serve, separated by commas.", show_default="all")
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(help="Tasks at once.", show_default="as many as the models together", min=1),
    ] = None,
    debug_models: Annotated[
        bool | None, typer.Option("--debug-models", help="Serve debug.echo, debug.sleep and debug.fail, too.")
    ] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Where weights lie.", show_default="`models` in the data directory")
    ] = None,
) -> None:
    """Run a whole NeuroGrid here: gateway, node and models, with its data in one directory.

    It migrates itself and makes a first admin, whose key the other commands find. Stop it by Ctrl-C.

    Examples:

        neurogrid up

        neurogrid up --servers --port 9000 --data-dir ./grid
    """
    settings = _embedded(given_settings(host=host, port=port, data_dir=data_dir, debug_models=debug_models))
    configure_logging(settings, quiet=sys.stdout.isatty())
    with ExitStack() as stack:
        stack.enter_context(_only_one(settings.data_dir))
        listener = stack.enter_context(listen(settings.host, settings.port))
        if servers:
            settings = _with_servers(settings, stack)
        else:
            own_servers.forget(settings.data_dir)
            stack.enter_context(only_gateway(settings))
        url = url_of(listener)
        if settings.public_url is None:
            settings = settings.model_copy(update={"public_url": url})
        credentials = _prepare(settings, url)
        node = None if no_node else _node(settings, models, slots, models_dir)
        from neurogrid.app import create_app

        app = create_app(settings, node.companion() if node else None)
        run_server(
            app, settings, listener, lambda: _welcome(settings, url, credentials, node, servers=servers)
        )
    screen.note("stopped")


def _embedded(settings: Settings) -> Settings:
    """Return the settings with what takes no configuration here: a secret key, and files for mails."""
    settings = keyed(settings)
    if settings.mail.outbox is not None:
        return settings
    mail = settings.mail.model_copy(update={"outbox": settings.data_dir / OUTBOX})
    return settings.model_copy(update={"mail": mail})


def _only_one(data_dir: Path) -> AbstractContextManager[None]:
    """Hold the data directory. Raises ``Failure`` when another process has it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return held(
        data_dir / "up.lock",
        f"a `neurogrid up` runs on {data_dir} already",
        "Stop it, or give this one another directory by --data-dir.",
    )


def _with_servers(settings: Settings, stack: ExitStack) -> Settings:
    from pydantic import SecretStr

    from neurogrid.servers.running import running_servers

    with screen.status("starting PostgreSQL and Valkey …"):
        found = stack.enter_context(running_servers(settings.data_dir.absolute() / "servers"))
    own_servers.note(settings.data_dir, database_url=found.database_url, redis_url=found.redis_url)
    return settings.model_copy(
        update={"database_url": SecretStr(found.database_url), "redis_url": SecretStr(found.redis_url)}
    )


def _prepare(settings: Settings, url: str) -> Path:
    """Migrate, make the first admin, and return the path of its credentials."""
    from neurogrid.auth.service import AuthService
    from neurogrid.cli.first_admin import ensure_credentials
    from neurogrid.core import migrations
    from neurogrid.core.db import Database

    with screen.status("migrating the database …"):
        migrations.upgrade(settings.effective_database_url)

    async def ensure() -> Path:
        database = Database(settings.effective_database_url)
        try:
            return await ensure_credentials(AuthService(database), settings.data_dir, url)
        finally:
            await database.close()

    return asyncio.run(ensure())


def _node(settings: Settings, models: str | None, slots: int | None, models_dir: Path | None) -> EmbeddedNode:
    from neurogrid.cli.embedded import EmbeddedNode

    return EmbeddedNode(
        name=NODE_NAME,
        runners=build_runners(
            models, models_dir or settings.data_dir / MODELS_DIR, debug=settings.debug_models
        ),
        slots=slots,
        spill_dir=settings.data_dir / "spill",
        grace=settings.grid.shutdown_grace,
        on_load=_show_loading,
    )


def _show_loading(name: str, state: LoadState, reason: str) -> None:
    typer.echo(f"  {name}: {state}{f' ({reason})' if reason else ''}", err=True)


def _welcome(
    settings: Settings, url: str, credentials: Path, node: EmbeddedNode | None, *, servers: bool
) -> None:
    served = [runner.spec for runner in node.runners] if node else []
    typer.secho(f"NeuroGrid is up at {url}", fg="green", bold=True, err=True)
    for line in (
        f"  API documents  {url}/docs",
        f"  credentials    {credentials}",
        f"  mails          {settings.mail.outbox}",
        *([f"  database       {settings.effective_database_url}"] if servers else []),
        f"  first task     {_first_task(settings.data_dir, served)}",
        "  stop           Ctrl-C",
    ):
        typer.echo(line, err=True)


def _first_task(data_dir: Path, served: Sequence[ModelSpec] = ()) -> str:
    """Return a command that works in another terminal here, without an activated environment, too.

    It is for the usual model where that is among those ``served``, or where other nodes have to serve.
    """
    what = f'{USUAL} --input "Name three uses of a paper clip."'
    if served and USUAL not in {spec.name for spec in served}:
        example = json.dumps(served[0].example_input, ensure_ascii=False)
        what = f"{served[0].name} --input-json {shlex.quote(example)}"
    command = "neurogrid"
    if shutil.which(command) is None:
        command = os.path.relpath(Path(sys.executable).with_name(command))
    if connection.data_dir().absolute() != data_dir.absolute():
        command = f"NEUROGRID_DATA_DIR={shlex.quote(str(data_dir.absolute()))} {command}"
    return f"{command} task submit {what} --watch"
