"""``neurogrid config``: the settings in force, and all there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args, get_origin

import typer

from neurogrid.cli import screen
from neurogrid.cli.options import DataDir, Json
from neurogrid.cli.service import load_settings

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

PREFIX = "NEUROGRID_"
_RULE = re.compile(r" \(R\d[^)]*\)")
"""The numbers of our own rules mean nothing to an operator."""

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


@app.command()
def describe() -> None:
    """Print every setting with its default and its meaning, as Markdown.

    Example:

        neurogrid config describe
    """
    from neurogrid.core.settings import Settings

    typer.echo("\n".join(_describe(Settings, PREFIX)))


def _describe(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield a section's table, then those of the sections within it."""
    from pydantic import BaseModel

    fields = section.model_fields.items()
    within = {name: type(field.default) for name, field in fields if isinstance(field.default, BaseModel)}
    yield from ("| variable | default | meaning |", "|---|---|---|")
    for name, field in fields:
        if name not in within:
            names = " or ".join(f"`{each}`" for each in _variables(name, field, prefix))
            yield f"| {names} | {_default(field)} | {_RULE.sub('', field.description or '')} |"
    for name, inner in within.items():
        yield from ("", f"### {name.capitalize()}", "", _RULE.sub("", inner.__doc__ or ""), "")
        yield from _describe(inner, f"{prefix}{name.upper()}__")
    for name, field in fields:
        if (named := _named(field)) is not None:
            yield ""
            yield from _describe(named, f"{prefix}{name.upper()}__<NAME>__")


def _named(field: FieldInfo) -> type[BaseModel] | None:
    """Return what each of several things that have names of their own is described by."""
    from pydantic import BaseModel

    match get_args(field.annotation):
        case (_, type() as kind) if get_origin(field.annotation) is dict and issubclass(kind, BaseModel):
            return kind
        case _:
            return None


def _variables(name: str, field: FieldInfo, prefix: str) -> list[str]:
    from pydantic import AliasChoices

    if isinstance(field.validation_alias, AliasChoices):
        return [str(each) for each in field.validation_alias.choices]
    return [prefix + name.upper()]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the platform's user-data directory"
    if field.is_required():
        return "needed"
    match field.default:
        case None:
            return ""
        case bool(value):
            return f"`{str(value).lower()}`"
        case float(value):
            return f"`{value:g}`"
        case value:
            return f"`{value}`"


def flatten(section: BaseModel, prefix: str = PREFIX) -> list[tuple[str, Any]]:
    """Return every setting by the name of its environment variable, secrets masked."""
    from pydantic import BaseModel

    found: list[tuple[str, Any]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += flatten(value, f"{prefix}{name.upper()}__")
        elif _named(type(section).model_fields[name]) is not None:
            for key, inner in value.items():
                found += flatten(inner, f"{prefix}{name.upper()}__{key.upper()}__")
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
