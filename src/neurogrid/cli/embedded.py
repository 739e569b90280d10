"""The node that ``neurogrid up`` runs in the gateway's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from neurogrid import __version__
from neurogrid.agent.agent import Agent
from neurogrid.cli.node import slots_of
from neurogrid.core.background import Background
from neurogrid.runners.base import Runner
from neurogrid.runners.catalog import OnLoad, close_all, load_all

if TYPE_CHECKING:
    from neurogrid.app import Connect

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedNode:
    """What the node is made of.

    ``slots`` bounds what runs at once (``None``: as many as the models together), ``grace`` is in seconds, for
    running tasks at the end.
    """

    name: str
    runners: list[Runner]
    slots: int | None
    spill_dir: Path
    grace: float
    on_load: OnLoad

    def companion(self) -> Callable[[Connect], AbstractAsyncContextManager[None]]:
        """Return what ``create_app`` runs beside the gateway.

        Entering loads the models and attaches the node, so that a task is never refused because its model was
        only about to be there. Leaving lets running tasks finish within ``grace`` and hands back the rest.
        """

        @asynccontextmanager
        async def beside(connect: Connect) -> AsyncIterator[None]:
            try:
                loaded, _ = await load_all(self.runners, self.on_load)
                if not loaded:
                    log.warning("node.serves_nothing")
                    yield
                    return
                agent = Agent(
                    self.name,
                    __version__,
                    loaded,
                    slots=self.slots or slots_of(loaded),
                    connect=connect,
                    spill_dir=self.spill_dir,
                )
                async with _running(agent, self.grace):
                    yield
            finally:
                await close_all(self.runners)

        return beside


@asynccontextmanager
async def _running(agent: Agent, grace: float) -> AsyncIterator[None]:
    background = Background()
    running = background.spawn(agent.run(), "node")
    connected = background.spawn(agent.connected.wait(), "node.connected")
    try:
        await asyncio.wait({running, connected}, return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        if not running.done():
            await agent.drain(grace)
        await background.close()
