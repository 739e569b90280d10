"""``neurogrid user list|show|role|tier|disable|enable|verify|password``: existing accounts, on the server itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurogrid.auth.policy import Role, Tier
from neurogrid.cli import screen
from neurogrid.cli.options import DataDir, Json
from neurogrid.cli.passwords import new_password
from neurogrid.cli.service import keyed, with_database

if TYPE_CHECKING:
    from neurogrid.auth.parts import AuthParts
    from neurogrid.auth.trail import Trail
    from neurogrid.core.db import Database
    from neurogrid.core.prepared import Row
    from neurogrid.core.settings import Settings

MOST = 1000
Email = Annotated[str, typer.Argument(help="The account's address.")]
Work = Callable[["AuthParts", "Trail", str], Awaitable["Row"]]
"""Does something to the user of an id, as who acts on the server, and returns them as they are then."""


def register(users: typer.Typer) -> None:
    """Add the commands to ``neurogrid user``."""
    for name, command in (
        ("list", list_users),
        ("show", show),
        ("role", role),
        ("tier", tier),
        ("disable", disable),
        ("enable", enable),
        ("verify", verify),
        ("password", password),
    ):
        users.command(name=name)(command)


def list_users(
    role: Annotated[Role | None, typer.Option(help="Only users of this role.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="Only users of this tier.")] = None,
    email: Annotated[str | None, typer.Option(help="How the address begins.")] = None,
    limit: Annotated[int, typer.Option(help="Users to list, the newest first.", min=1, max=MOST)] = 100,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List accounts, the newest first. Run it on the server.

    Example:

        neurogrid user list --tier free --json
    """

    async def read(database: Database, settings: Settings) -> list[dict[str, Any]]:
        from neurogrid.auth.parts import make_auth
        from neurogrid.auth.users import WantedUsers

        auth = make_auth(database, keyed(settings))
        return [_view(row) for row in await auth.users.page(WantedUsers(role, tier, email), None, limit)]

    found = with_database(data_dir, read)
    if json:
        screen.print_json(found)
        return
    screen.print_table(
        ["ID", "EMAIL", "ROLE", "TIER", "VERIFIED", "DISABLED"],
        [
            (
                each["id"],
                each["email"],
                each["role"],
                each["tier"],
                "yes" if each["email_verified"] else "no",
                each["locked_at"] or "no",
            )
            for each in found
        ],
    )


def show(email: Email, json: Json = False, data_dir: DataDir = None) -> None:
    """Show one account. Run it on the server.

    Example:

        neurogrid user show ada@example.org
    """
    _do(email, lambda auth, _, user: auth.users.one(user), json=json, data_dir=data_dir)


def role(
    email: Email,
    role: Annotated[Role, typer.Argument(help="What it is trusted with from now on.")],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Give an account another role; it holds everywhere within 5 seconds. Run it on the server.

    Example:

        neurogrid user role ada@example.org operator
    """
    _do(
        email,
        lambda auth, trail, user: auth.users.change(trail, user, role, None),
        json=json,
        data_dir=data_dir,
    )


def tier(
    email: Email,
    tier: Annotated[Tier, typer.Argument(help="How much it gets from now on.")],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Give an account another tier; it holds everywhere within 5 seconds. Run it on the server.

    Example:

        neurogrid user tier ada@example.org pro
    """
    _do(
        email,
        lambda auth, trail, user: auth.users.change(trail, user, None, tier),
        json=json,
        data_dir=data_dir,
    )


def disable(email: Email, json: Json = False, data_dir: DataDir = None) -> None:
    """Let nobody in as this user: within 5 seconds sessions end and keys do not hold. Run it on the server.

    Example:

        neurogrid user disable eve@example.org
    """
    _do(email, lambda auth, trail, user: auth.users.lock(trail, user), json=json, data_dir=data_dir)


def enable(email: Email, json: Json = False, data_dir: DataDir = None) -> None:
    """Let a user in again. Keys hold again; sessions stay ended. Run it on the server.

    Example:

        neurogrid user enable eve@example.org
    """
    _do(email, lambda auth, trail, user: auth.users.unlock(trail, user), json=json, data_dir=data_dir)


def verify(email: Email, json: Json = False, data_dir: DataDir = None) -> None:
    """Vouch for an account's address, in place of the mail that asks for it. Run it on the server.

    Example:

        neurogrid user verify ada@example.org
    """
    _do(email, lambda auth, trail, user: auth.users.vouch(trail, user), json=json, data_dir=data_dir)


def password(
    email: Email,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Set an account's password: it is asked for twice, never given as an argument. Run it on the server.

    Every session ends, and the user is told by mail. API keys stay.

    Example:

        neurogrid user password ada@example.org
    """
    new = new_password(stdin=password_stdin)

    async def change(auth: AuthParts, trail: Trail, id: str) -> Row:
        await auth.accounts.set_password(trail, id, new)
        return await auth.users.one(id)

    _do(email, change, json=json, data_dir=data_dir)


def _do(email: str, work: Work, *, json: bool, data_dir: Path | None) -> None:
    """Do something to the account of an address, and print it as it is then."""

    async def run(database: Database, settings: Settings) -> dict[str, Any]:
        from neurogrid.auth.parts import make_auth
        from neurogrid.auth.trail import Trail

        auth = make_auth(database, keyed(settings))
        return _view(await work(auth, Trail(auth.audit), await auth.keys.owner_of(email)))

    found = with_database(data_dir, run)
    if json:
        screen.print_json(found)
        return
    for name, value in found.items():
        typer.echo(screen.safe(f"{name}: {'' if value is None else value}"))


def _view(row: Row) -> dict[str, Any]:
    from neurogrid.admin.users import UserView

    return UserView.of(row).model_dump(mode="json")
