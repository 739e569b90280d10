"""``neurogrid db``: the schema of the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from neurogrid.cli import own_servers, screen
from neurogrid.cli.options import DataDir, Json
from neurogrid.cli.service import load_settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Migrate the database.")


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="How far.")] = "head", data_dir: DataDir = None
) -> None:
    """Migrate the database forward. Safe to run twice and from several machines at once.

    Example:

        NEUROGRID_DATABASE_URL=postgresql://grid@db.example/grid neurogrid db upgrade
    """
    from neurogrid.core import migrations

    url = _prepare(data_dir, make=True)
    with screen.status("migrating …"):
        migrations.upgrade(url, revision)
    screen.note(f"the database is at revision {migrations.status(url).current}")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="How far: a revision, `-1` for one step, or `base`.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Migrate the database back. Data of the tables and columns that go is lost.

    Example:

        neurogrid db downgrade --yes -- -1
    """
    from neurogrid.core import migrations

    url = _prepare(data_dir)
    if not yes:
        typer.confirm("Data may be lost. Go on?", abort=True, err=True)
    with screen.status("migrating …"):
        migrations.downgrade(url, revision)
    screen.note(f"the database is at revision {migrations.status(url).current}")


@app.command()
def status(json: Json = False, data_dir: DataDir = None) -> None:
    """Say where the database stands.

    Example:

        neurogrid db status --json
    """
    from neurogrid.core import migrations

    found = migrations.status(_prepare(data_dir))
    if json:
        screen.print_json(asdict(found))
        return
    typer.echo(f"current: {found.current or 'empty'}")
    typer.echo(f"newest:  {found.head}")
    if found.ahead:
        typer.echo(f"migrated by a newer release; works with {found.min_app or 'that one'} and later")
    elif found.pending:
        typer.echo(f"pending: {', '.join(found.pending)}")
    else:
        typer.echo("up to date")


def _prepare(data_dir: DataDir, *, make: bool = False) -> str:
    """Return the database's URL; ``make`` makes the data directory if that is where it lies."""
    from neurogrid.core import logging

    settings = load_settings(data_dir=data_dir)
    logging.configure("WARNING")
    if make and settings.database_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    own_servers.require_running(settings.effective_database_url)
    return settings.effective_database_url
