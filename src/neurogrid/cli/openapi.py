"""``neurogrid openapi`` and ``neurogrid asyncapi``: the descriptions of what the gateway speaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from neurogrid.cli import screen
from neurogrid.cli.failures import Failure

Output = Annotated[Path | None, typer.Option(help="Write it to this file.")]
Check = Annotated[Path | None, typer.Option(help="Only compare it with this file; 2 when they differ.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(openapi)
    app.command()(asyncapi)


def openapi(output: Output = None, check: Check = None) -> None:
    """Print the OpenAPI document of the HTTP interface.

    Example:

        neurogrid openapi --check openapi.json
    """
    _deliver("openapi", render(), output, check)


def asyncapi(output: Output = None, check: Check = None) -> None:
    """Print the AsyncAPI document of the WebSocket interfaces: live events, and the node protocol.

    Example:

        neurogrid asyncapi --check asyncapi.json
    """
    _deliver("asyncapi", render_asyncapi(), output, check)


def render() -> bytes:
    """Return the OpenAPI document, the same whatever this machine's settings are."""
    from neurogrid.app import create_app
    from neurogrid.core.settings import Settings

    return _pretty(create_app(Settings.model_construct()).openapi())


def render_asyncapi() -> bytes:
    """Return the AsyncAPI document."""
    from neurogrid.protocol.asyncapi import document

    return _pretty(document())


def _pretty(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _deliver(command: str, document: bytes, output: Path | None, check: Path | None) -> None:
    if check is not None:
        if not check.is_file() or check.read_bytes() != document:
            raise Failure(
                f"{check} differs from the code", hint=f"Run `neurogrid {command} --output {check}`."
            )
        screen.note(f"{check} is up to date")
    if output is not None:
        output.write_bytes(document)
    if check is None and output is None:
        typer.echo(document, nl=False)
