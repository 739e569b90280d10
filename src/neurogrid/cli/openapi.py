"""``neurogrid openapi``: the description of the HTTP interface."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from neurogrid.cli import screen
from neurogrid.cli.failures import Failure


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(openapi)


def openapi(
    output: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Only compare it with this file; 2 when they differ.")
    ] = None,
) -> None:
    """Print the OpenAPI document of the HTTP interface.

    Example:

        neurogrid openapi --check openapi.json
    """
    document = render()
    if check is not None:
        if not check.is_file() or check.read_bytes() != document:
            raise Failure(f"{check} differs from the code", hint=f"Run `neurogrid openapi --output {check}`.")
        screen.note(f"{check} is up to date")
    if output is not None:
        output.write_bytes(document)
    if check is None and output is None:
        typer.echo(document, nl=False)


def render() -> bytes:
    """Return the document, the same whatever this machine's settings are."""
    from neurogrid.app import create_app
    from neurogrid.core.settings import Settings

    app = create_app(Settings.model_construct())
    return orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
