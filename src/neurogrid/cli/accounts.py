"""``neurogrid user`` and ``neurogrid key``: accounts and their keys, on the server itself."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from neurogrid.auth.policy import Role, Tier
from neurogrid.cli import screen
from neurogrid.cli.failures import Failure
from neurogrid.cli.options import DataDir
from neurogrid.cli.service import with_database

if TYPE_CHECKING:
    from neurogrid.core.db import Database

users = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Create accounts.")
keys = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Create API keys.")


@users.callback()
def _users() -> None:
    """Create accounts."""


@keys.callback()
def _keys() -> None:
    """Create API keys."""


@users.command(name="create")
def create_user(
    email: Annotated[str, typer.Argument(help="The account's address.")],
    role: Annotated[Role, typer.Option(help="What it is trusted with.")] = Role.USER,
    tier: Annotated[Tier, typer.Option(help="How much it gets.")] = Tier.FREE,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Create an account and print its id. Run it on the server.

    Example:

        echo "$PASSWORD" | neurogrid user create ada@example.org --role admin --password-stdin
    """
    password = _password() if password_stdin else None

    async def create(database: Database, _: object) -> str:
        from neurogrid.auth.service import AuthService

        return await AuthService(database).create_user(email, role, tier, password)

    typer.echo(with_database(data_dir, create))
    if password is None:
        screen.note(f"It has no password; give it a key: neurogrid key create --user {email} --name first")


@keys.command(name="create")
def create_key(
    user: Annotated[str, typer.Option(help="The account's address.")],
    name: Annotated[str, typer.Option(help="What to call the key.")],
    days: Annotated[int | None, typer.Option(help="Days until it expires.", min=1)] = None,
    data_dir: DataDir = None,
) -> None:
    """Create an API key and print it alone. It is shown this once. Run it on the server.

    Example:

        export NEUROGRID_API_KEY="$(neurogrid key create --user ada@example.org --name laptop)"
    """
    lifetime = timedelta(days=days) if days else None

    async def create(database: Database, _: object) -> str:
        from neurogrid.auth.service import AuthService

        return await AuthService(database).create_key(user, name, lifetime)

    typer.echo(with_database(data_dir, create))


def _password() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Failure("there is no password on standard input")
    return password
