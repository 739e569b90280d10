"""``neurogrid config``: the settings in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from neurogrid.cli import screen
from neurogrid.cli.options import DataDir, Json
from neurogrid.cli.service import load_settings

if TYPE_CHECKING:
    from pydantic import BaseModel

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="See the configuration.")


@app.callback()
def _config() -> None:
    """See the configuration."""


@app.command()
def show(json: Json = False, data_dir: DataDir = None) -> None:
    """Print the settings in force, with secrets masked.

    Example:

        neurogrid config show --json
    """
    settings = load_settings(data_dir=data_dir)
    values = dict(flatten(settings))
    if json:
        screen.print_json(values)
        return
    width = max(map(len, values))
    for name, value in values.items():
        typer.echo(f"{name:<{width}}  {'' if value is None else value}")


def flatten(section: BaseModel, prefix: str = "NEUROGRID_") -> list[tuple[str, Any]]:
    """Return every setting by the name of its environment variable, secrets masked."""
    from pydantic import BaseModel

    found: list[tuple[str, Any]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += flatten(value, f"{prefix}{name.upper()}__")
        else:
            found.append((prefix + name.upper(), _shown(value)))
    return found


def _shown(value: Any) -> Any:
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return _masked(value.get_secret_value())
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _masked(secret: str) -> str:
    """Return a URL without its password, of any other secret nothing."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(secret).render_as_string(hide_password=True)
    except ArgumentError:
        return "***"
