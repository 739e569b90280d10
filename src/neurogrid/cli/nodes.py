"""``neurogrid nodes``: the nodes of the grid and the tokens by which they join."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurogrid.cli import screen
from neurogrid.cli.connection import connect
from neurogrid.cli.failures import Failure
from neurogrid.cli.options import ApiKey, DataDir, Json, Url, read_duration
from neurogrid.cli.service import with_database

if TYPE_CHECKING:
    from neurogrid.client import Client, Node
    from neurogrid.core.db import Database

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="See nodes, let them join, have them leave."
)

NodeName = Annotated[str, typer.Argument(help="The node's name, or its id.")]


@app.command(name="list")
def list_(json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """List the nodes of the grid.

    Example:

        neurogrid nodes list
    """
    with connect(url, api_key) as client:
        nodes = client.nodes()
    if json:
        screen.print_json([node.raw for node in nodes])
        return
    screen.print_table(
        ["NAME", "STATE", "RUNNING", "VERSION", "MODELS"],
        [
            (
                node.name,
                node.state if node.connected else "away",
                f"{node.running}/{node.slots}",
                node.version,
                ", ".join(node.models),
            )
            for node in nodes
        ],
    )


@app.command()
def cordon(node: NodeName, json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Give a node no new tasks, also after restarts, until it is uncordoned. It finishes what it has.

    Example:

        neurogrid nodes cordon lab-1
    """
    with connect(url, api_key) as client:
        _show(client.cordon_node(_id_of(client, node)), json=json)


@app.command()
def uncordon(node: NodeName, json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Give a node tasks again.

    Example:

        neurogrid nodes uncordon lab-1
    """
    with connect(url, api_key) as client:
        _show(client.uncordon_node(_id_of(client, node)), json=json)


@app.command()
def drain(
    node: NodeName,
    deadline: Annotated[
        str | None, typer.Option(help="How long it may take, such as 90s or 5m.", show_default="30s")
    ] = None,
    json: Json = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Have a node finish what it can, hand back the rest, and end. Started again, it stays cordoned.

    Example:

        neurogrid nodes drain lab-1 --deadline 5m
    """
    seconds = read_duration("--deadline", deadline)
    with connect(url, api_key) as client:
        _show(client.drain_node(_id_of(client, node), seconds), json=json)


@app.command()
def remove(node: NodeName, url: Url = None, api_key: ApiKey = None) -> None:
    """Forget a node and end its process. What it runs, runs elsewhere; started again, it is a new node.

    Example:

        neurogrid nodes remove lab-1
    """
    with connect(url, api_key) as client:
        client.remove_node(_id_of(client, node))
    screen.note(f"{node} is removed")


@app.command()
def token(
    name: Annotated[str, typer.Option(help="What to call it.")] = "node",
    expires_in: Annotated[
        str | None, typer.Option(help="How long it holds, such as 12h or 30d.", show_default="for ever")
    ] = None,
    node: Annotated[str | None, typer.Option(help="The only name a node that joins by it may have.")] = None,
    models: Annotated[
        str | None, typer.Option(help="The only models such a node may serve, separated by commas.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a token by which nodes join, and print it alone. It is shown this once. Run it on the server.

    Examples:

        neurogrid node --url ws://grid.example:8000 --token "$(neurogrid nodes token --name lab)"

        neurogrid nodes token --node lab-1 --models e5-small,language --expires-in 30d
    """
    wanted = {
        "name": name,
        "node": node,
        "models": [each.strip() for each in models.split(",") if each.strip()]
        if models is not None
        else None,
        "expires_in_s": read_duration("--expires-in", expires_in),
    }
    typer.echo(with_database(data_dir, lambda database, _: _make_token(database, wanted)))


@app.command()
def tokens(json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """List the tokens by which nodes join, without their secrets.

    Example:

        neurogrid nodes tokens
    """
    with connect(url, api_key) as client:
        found = client.node_tokens()
    if json:
        screen.print_json([each.raw for each in found])
        return
    screen.print_table(
        ["ID", "NAME", "BEGINS WITH", "NODE", "MODELS", "EXPIRES", "LAST USED"],
        [
            (
                each.id,
                each.name,
                each.prefix,
                each.node or "any",
                "any" if each.models is None else ", ".join(each.models),
                "revoked" if each.revoked_at else _shown(each.expires_at),
                _shown(each.last_used_at),
            )
            for each in found
        ],
    )


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id; see `neurogrid nodes tokens`.")],
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Revoke a token: nodes that joined by it are disconnected within 5 seconds.

    Example:

        neurogrid nodes revoke 019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10
    """
    with connect(url, api_key) as client:
        client.revoke_node_token(token_id)
    screen.note("the token is revoked")


def _id_of(client: Client, node: str) -> str:
    for each in client.nodes():
        if node in {each.name, each.id}:
            return each.id
    raise Failure(f"there is no node {node!r}", hint="`neurogrid nodes list` shows those that there are.")


def _show(node: Node, *, json: bool) -> None:
    if json:
        screen.print_json(node.raw)
    else:
        typer.echo(node.state)


def _shown(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment else "never"


async def _make_token(database: Database, wanted: dict[str, Any]) -> str:
    from pydantic import ValidationError

    from neurogrid.auth.audit import Audit
    from neurogrid.auth.trail import Trail
    from neurogrid.nodes.joining import JoinTokens
    from neurogrid.nodes.schemas import NewToken
    from neurogrid.nodes.store import NodeStore

    try:
        checked = NewToken(**wanted)
    except ValidationError as error:
        wrong = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise Failure(f"such a token cannot be: {wrong}") from None
    async with database.transaction() as transaction:
        trail = Trail(Audit(database))
        return (await JoinTokens(NodeStore(database)).create(transaction, checked, trail)).token
