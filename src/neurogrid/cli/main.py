"""``neurogrid``: all commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from neurogrid import __version__
from neurogrid.cli import (
    accounts,
    audit,
    config,
    database,
    drill,
    keys,
    models,
    node,
    nodes,
    openapi,
    serve,
    task,
    up,
    usage,
)
from neurogrid.cli.failures import Commands

HELP = """One durable, live service in front of all your AI models.

Start with:

    neurogrid up

    neurogrid task submit smollm2-135m --input "Name three uses of a paper clip." --watch

Exit codes: 0 done, 1 the task failed, 2 wrong usage or refused, 3 not reachable, 130 interrupted.
"""

app = typer.Typer(
    name="neurogrid",
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (up, serve, node, openapi, drill):
    module.register(app)
for name, group in (
    ("task", task.app),
    ("models", models.app),
    ("nodes", nodes.app),
    ("user", accounts.users),
    ("key", keys.app),
    ("audit", audit.app),
    ("usage", usage.app),
    ("db", database.app),
    ("config", config.app),
):
    app.add_typer(group, name=name)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _neurogrid(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    app()
