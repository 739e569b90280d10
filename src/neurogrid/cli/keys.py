"""``neurogrid key``: API keys, on the server itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurogrid.cli import screen
from neurogrid.cli.failures import Failure
from neurogrid.cli.options import DataDir, Json, read_duration
from neurogrid.cli.service import with_database

if TYPE_CHECKING:
    from datetime import datetime

    from neurogrid.auth.keys import ApiKeys
    from neurogrid.auth.policy import Permission
    from neurogrid.core.db import Database
    from neurogrid.core.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Create, list and revoke API keys.")
User = Annotated[str, typer.Option(help="The account's address.")]
_OWN = "with it, within what the user's tier allows."
PER_MINUTE = typer.Option(min=1, help=f"Requests in a minute {_OWN}", show_default="no own limit")
PER_HOUR = typer.Option(min=1, help=f"Requests in an hour {_OWN}", show_default="no own limit")
TASKS_PER_HOUR = typer.Option(min=1, help=f"Tasks in an hour {_OWN}", show_default="no own limit")


@app.command(name="create")
def create(
    user: User,
    name: Annotated[str, typer.Option(help="What to call the key.")],
    scopes: Annotated[
        str | None,
        typer.Option(
            help="The only permissions it has, such as tasks:read,tasks:write.",
            show_default="all of the user's role",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it holds, such as 12h or 30d.", show_default="for ever")
    ] = None,
    networks: Annotated[
        str | None,
        typer.Option(help="The only networks it may be used from, with commas.", show_default="everywhere"),
    ] = None,
    requests_per_minute: Annotated[int | None, PER_MINUTE] = None,
    requests_per_hour: Annotated[int | None, PER_HOUR] = None,
    tasks_per_hour: Annotated[int | None, TASKS_PER_HOUR] = None,
    data_dir: DataDir = None,
) -> None:
    """Create an API key and print it alone. It is shown this once. Run it on the server.

    Examples:

        export NEUROGRID_API_KEY="$(neurogrid key create --user ada@example.org --name laptop)"

        neurogrid key create --user ada@example.org --name reports --scopes tasks:read --expires 30d
    """
    seconds = read_duration("--expires", expires)
    lifetime = timedelta(seconds=seconds) if seconds is not None else None

    async def make(database: Database, _: object) -> str:
        from neurogrid.auth.policy import KeyLimits
        from neurogrid.auth.service import AuthService
        from neurogrid.core.networks import read

        try:
            places = read(networks) if networks is not None else None
        except ValueError as error:
            raise Failure(f"--networks: {error}") from None
        limits = KeyLimits(requests_per_minute, requests_per_hour, tasks_per_hour)
        return await AuthService(database).create_key(user, name, lifetime, _scopes(scopes), places, limits)

    typer.echo(with_database(data_dir, make))


@app.command(name="list")
def list_(user: User, json: Json = False, data_dir: DataDir = None) -> None:
    """List a user's keys, without their secrets, the newest first. Run it on the server.

    Example:

        neurogrid key list --user ada@example.org
    """

    async def read(database: Database, settings: Settings) -> list[dict[str, Any]]:
        from neurogrid.keys.schemas import KeyView

        keys = _keys(database, settings)
        rows = await keys.page(await keys.owner_of(user), None, 1000)
        return [KeyView.of(row).model_dump(mode="json" if json else "python") for row in rows]

    found = with_database(data_dir, read)
    if json:
        screen.print_json(found)
        return
    screen.print_table(
        ["ID", "NAME", "BEGINS WITH", "SCOPES", "NETWORKS", "EXPIRES", "LAST USED"],
        [
            (
                each["id"],
                each["name"],
                each["prefix"],
                " ".join(each["scopes"] or ["all"]),
                " ".join(each["allowed_networks"] or ["all"]),
                "revoked" if each["revoked_at"] else _shown(each["expires_at"]),
                _shown(each["last_used_at"]),
            )
            for each in found
        ],
    )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id; see `neurogrid key list`.")],
    user: User,
    data_dir: DataDir = None,
) -> None:
    """Revoke a key: it ends everywhere within 5 seconds. Run it on the server.

    Example:

        neurogrid key revoke 019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10 --user ada@example.org
    """

    async def end(database: Database, settings: Settings) -> None:
        from neurogrid.auth.audit import Audit
        from neurogrid.auth.trail import Trail

        keys = _keys(database, settings)
        await keys.revoke(Trail(Audit(database)), await keys.owner_of(user), key_id)

    with_database(data_dir, end)
    screen.note("the key is revoked")


def _keys(database: Database, settings: Settings) -> ApiKeys:
    from neurogrid.auth.keys import ApiKeys

    return ApiKeys(database, settings.auth, lambda: None)


def _scopes(text: str | None) -> frozenset[Permission] | None:
    from neurogrid.auth.policy import Permission

    if text is None:
        return None
    try:
        wanted = frozenset(Permission(each.strip()) for each in text.split(",") if each.strip())
    except ValueError as error:
        raise Failure(f"--scopes: {error}", hint=f"There are {', '.join(Permission)}.") from None
    if not wanted:
        raise Failure("--scopes names no permission")
    return wanted


def _shown(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment else "never"
