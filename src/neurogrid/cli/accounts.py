"""``neurogrid user``: accounts, on the server itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from neurogrid.auth.policy import Role, Tier
from neurogrid.cli import screen
from neurogrid.cli import users as existing
from neurogrid.cli.options import DataDir
from neurogrid.cli.passwords import new_password
from neurogrid.cli.service import keyed, with_database

if TYPE_CHECKING:
    from neurogrid.core.db import Database
    from neurogrid.core.settings import Settings

users = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Create, list and change accounts, and invite others to.",
)


@users.callback()
def _users() -> None:
    """Create, list and change accounts, and invite others to."""


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
    password = new_password(stdin=True) if password_stdin else None

    async def create(database: Database, _: object) -> str:
        from neurogrid.auth.service import AuthService

        return await AuthService(database).create_user(email, role, tier, password)

    typer.echo(with_database(data_dir, create))
    if password is None:
        screen.note(f"It has no password; give it a key: neurogrid key create --user {email} --name first")


@users.command()
def invite(
    email: Annotated[
        str | None, typer.Argument(help="The only address it is for.", show_default="any address")
    ] = None,
    role: Annotated[Role, typer.Option(help="What the account will be trusted with.")] = Role.USER,
    tier: Annotated[Tier, typer.Option(help="How much it will get.")] = Tier.FREE,
    days: Annotated[int, typer.Option(help="Days until it expires.", min=1, max=365)] = 7,
    data_dir: DataDir = None,
) -> None:
    """Print an invitation, good for one account. It is shown this once. Run it on the server.

    Registering takes one where NEUROGRID_AUTH__REGISTRATION is `invitation`.

    Example:

        neurogrid user invite ada@example.org --tier pro
    """

    async def make(database: Database, _: object) -> str:
        from neurogrid.auth.invitations import Invitations
        from neurogrid.auth.service import address_of

        address = address_of(email) if email is not None else None
        return await Invitations(database).make(address, role, tier, timedelta(days=days))

    typer.echo(with_database(data_dir, make))


@users.command(name="reset-factor")
def reset_factor(
    email: Annotated[str, typer.Argument(help="The account's address.")], data_dir: DataDir = None
) -> None:
    """Take authenticator app, passkeys and recovery codes from a user who lost them. Run it on the server.

    The password is enough then. Make sure of who asks for it; the user is told by mail.

    Example:

        neurogrid user reset-factor ada@example.org
    """

    async def reset(database: Database, settings: Settings) -> None:
        from neurogrid.auth.parts import make_auth
        from neurogrid.auth.trail import Trail

        auth = make_auth(database, keyed(settings))
        await auth.factors.reset(Trail(auth.audit), await auth.keys.owner_of(email))

    with_database(data_dir, reset)


existing.register(users)
