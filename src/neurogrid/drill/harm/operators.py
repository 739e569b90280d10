"""What operators do to nodes on purpose: cordon and drain them, and take them back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from neurogrid.client.asynchronous import AsyncClient
from neurogrid.client.errors import ClientError
from neurogrid.drill.grid import Node
from neurogrid.drill.harm.plan import Kind, Misfortune
from neurogrid.drill.harm.scene import Act, Scene
from neurogrid.drill.patience import until

TIMEOUT = 8.0
OBEYED_WITHIN = 40.0
"""Seconds for which an operator asks one gateway after the other to take an order."""
AGAIN_AFTER = 0.3
LEFT_WITHIN = 45.0
"""Seconds after its deadline within which a draining node has to be gone, though it may be cut off meanwhile."""

Give = Callable[[AsyncClient, str], Awaitable[Any]]


class _StillThere(Exception):
    """The grid still waits for a draining node."""


async def _gone(client: AsyncClient, node_id: str) -> None:
    """Make sure that a node counts as gone.

    One that is cut off for longer than its lease does, and when it is back, it is only cordoned: nobody tells
    its process to end any more.
    """
    if (await client.node(node_id)).state == "draining":
        raise _StillThere


class OperatorHarm:
    """Gives orders about nodes to whichever gateway takes them."""

    def __init__(self, scene: Scene) -> None:
        """Act on the nodes of ``scene``."""
        self._scene = scene
        self._ids: dict[str, str] = {}

    def acts(self) -> Mapping[Kind, Act]:
        """Return what it can do."""
        return {Kind.CORDON_NODE: self._cordon, Kind.DRAIN_NODE: self._drain}

    async def _cordon(self, misfortune: Misfortune) -> bool:
        node = self._scene.node(misfortune)
        async with self._scene.alone(node):
            self._scene.say(f"cordon {node.process.name} for {misfortune.seconds:g} s")
            obeyed = await self._order(node, lambda client, node_id: client.cordon_node(node_id))
            await asyncio.sleep(misfortune.seconds)
            await self._take_back(node)
        return obeyed

    async def _drain(self, misfortune: Misfortune) -> bool:
        node = self._scene.node(misfortune)
        process, deadline = node.process, misfortune.seconds
        async with self._scene.alone(node), self._scene.alone(process):
            if not process.alive:
                return False
            self._scene.say(f"drain {process.name} within {deadline:g} s")
            process.wanted = False
            obeyed = await self._order(node, lambda client, node_id: client.drain_node(node_id, deadline))
            code = await process.ended(deadline + LEFT_WITHIN if obeyed else 0)
            if code is not None and code != 0:
                self._scene.complain(f"{process.name} ended with {code} after an order to drain")
            elif code is None and obeyed and not await self._order(node, _gone):
                self._scene.complain(
                    f"{process.name} went on for {LEFT_WITHIN:g} s after the deadline of a drain"
                )
            process.kill()
            process.start()
            await self._take_back(node)
        return obeyed

    async def take_all_back(self) -> None:
        """Uncordon all nodes, also those whose order was lost in the turmoil."""
        for node in self._scene.grid.nodes:
            if not await self._take_back(node):
                self._scene.complain(f"no gateway took the order to uncordon {node.process.name}")

    async def _take_back(self, node: Node) -> bool:
        self._scene.say(f"uncordon {node.process.name}")
        return await self._order(node, lambda client, node_id: client.uncordon_node(node_id))

    async def _order(self, node: Node, give: Give) -> bool:
        return await until(partial(self._obeyed, node.process.name, give), OBEYED_WITHIN, AGAIN_AFTER)

    async def _obeyed(self, name: str, give: Give) -> bool:
        gateway = self._scene.choose.choice(self._scene.grid.gateways)
        try:
            async with AsyncClient(
                gateway.url, self._scene.grid.api_key, timeout=TIMEOUT, retries=0
            ) as client:
                if name not in self._ids:
                    self._ids = {each.name: each.id for each in await client.nodes()}
                await give(client, self._ids[name])
        except (ClientError, _StillThere):
            return False
        return True
