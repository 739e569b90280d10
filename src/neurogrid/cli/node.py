"""``neurogrid node``: a process that runs models."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurogrid.cli.failures import Failure
from neurogrid.cli.models import MODELS_DIR
from neurogrid.cli.options import DataDir
from neurogrid.cli.serve import configure_logging
from neurogrid.cli.service import load_settings

if TYPE_CHECKING:
    from neurogrid.agent.agent import Agent
    from neurogrid.runners.base import Runner

DEFAULT_URL = "ws://127.0.0.1:8000"
DRAIN = 30.0
"""Seconds that SIGTERM leaves running tasks to finish."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(node)


def node(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            envvar="NEUROGRID_URL",
            help="The gateway, ws://host:port or wss://…; several, repeated or separated by commas, take turns.",
            show_default=DEFAULT_URL,
        ),
    ] = None,
    token: Annotated[
        str, typer.Option(envvar="NEUROGRID_NODE_TOKEN", help="From `neurogrid nodes token`.")
    ] = "",
    name: Annotated[
        str | None, typer.Option(help="The node's name, unique in the grid.", show_default="host name")
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(help="Tasks it runs at once.", show_default="as many as its models together", min=1),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="What it serves, separated by commas.", show_default="all")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label, `name=value`; may be repeated.")] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Where weights lie.", show_default="`models` in the data directory")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Run a node: it connects to a gateway, also from behind NAT, and runs the tasks of its models.

    Ctrl-C or SIGTERM lets running tasks finish for 30 seconds and hands back the rest.

    Example:

        neurogrid node --url ws://grid.example:8000 --token ngn_… --name lab-1 --models smollm2-135m,e5-small
    """
    if not token:
        hint = "Make one on the server by `neurogrid nodes token`, and give it by --token or NEUROGRID_NODE_TOKEN."
        raise Failure("a node needs a token", hint=hint)
    from neurogrid.agent.connect import web_socket

    settings = load_settings(data_dir=data_dir)
    configure_logging(settings)
    try:
        connect = web_socket(read_urls(url), token)
    except ValueError as error:
        raise Failure(str(error)) from None
    runners = build_runners(models, models_dir or settings.data_dir / MODELS_DIR, debug=settings.debug_models)
    from neurogrid import __version__
    from neurogrid.agent.agent import Agent

    def make_agent(loaded: list[Runner]) -> Agent:
        return Agent(
            name or socket.gethostname(),
            __version__,
            loaded,
            slots=slots or slots_of(loaded),
            connect=connect,
            labels=read_labels(label),
            spill_dir=settings.data_dir / "spill",
        )

    asyncio.run(run_node(runners, make_agent))


def build_runners(models: str | None, models_dir: Path, *, debug: bool) -> list[Runner]:
    """Return the runners of a list of names, not loaded yet. Raises ``Failure`` for names that do not exist."""
    from neurogrid.runners.catalog import build

    names = [name.strip() for name in models.split(",") if name.strip()] if models else None
    try:
        return build(names, debug=debug, models_dir=models_dir)
    except ValueError as error:
        raise Failure(str(error)) from None


def slots_of(runners: Iterable[Runner]) -> int:
    """Return how many tasks ``runners`` can run at once; each keeps to its own number, whatever the others do."""
    return sum(runner.spec.slots for runner in runners)


async def run_node(runners: list[Runner], make_agent: Callable[[list[Runner]], Agent]) -> None:
    """Load ``runners``, run the node until a signal, drain it. Raises ``Failure`` when nothing can be served."""
    from neurogrid.runners.catalog import close_all

    stop = _stop_signal()
    try:
        loaded = await _load_or_stop(runners, stop)
        if loaded:
            await _run_until(make_agent(loaded), stop)
    finally:
        await close_all(runners)


async def _load_or_stop(runners: list[Runner], stop: asyncio.Event) -> list[Runner]:
    from neurogrid.runners.catalog import load_all

    loading = asyncio.ensure_future(load_all(runners))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not loading.done():
        loading.cancel()
        await asyncio.wait({loading})
        return []
    loaded, refused = loading.result()
    if not loaded:
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise Failure(f"no model can be served\n  {reasons}", code=1)
    return loaded


async def _run_until(agent: Agent, stop: asyncio.Event) -> None:
    running = asyncio.ensure_future(agent.run())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        await agent.drain(DRAIN)
    await running


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    return stop


def read_urls(given: list[str] | None) -> list[str]:
    """Return the URLs of ``--url`` options, each of which may name several."""
    named = [url.strip() for each in given or () for url in each.split(",")]
    return [url for url in named if url] or [DEFAULT_URL]


def read_labels(given: list[str] | None) -> dict[str, str]:
    """Read ``name=value`` options. Raises ``Failure``."""
    labels = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise Failure(f"--label takes name=value, not {each!r}")
        labels[name] = value
    return labels
