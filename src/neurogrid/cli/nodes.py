"""``neurogrid nodes``: the nodes of the grid and the tokens by which they join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from neurogrid.cli import screen
from neurogrid.cli.connection import connect
from neurogrid.cli.options import ApiKey, DataDir, Json, Url
from neurogrid.cli.service import with_database

if TYPE_CHECKING:
    from neurogrid.core.db import Database
    from neurogrid.core.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="See nodes, let them join.")


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
def token(
    name: Annotated[str, typer.Option(help="What to call it.")] = "node", data_dir: DataDir = None
) -> None:
    """Make a token by which nodes join, and print it alone. It is shown this once. Run it on the server.

    Example:

        neurogrid node --url ws://grid.example:8000 --token "$(neurogrid nodes token --name lab)"
    """
    typer.echo(with_database(data_dir, lambda database, settings: _make_token(database, settings, name)))


async def _make_token(database: Database, settings: Settings, name: str) -> str:
    from neurogrid.nodes.service import NodeService
    from neurogrid.nodes.store import NodeStore
    from neurogrid.queue.views import QueueViews

    service = NodeService(NodeStore(database), QueueViews(database), settings.tasks.default_model)
    return (await service.create_token(name)).token
