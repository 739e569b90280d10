"""What is done to the connections between the processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from neurogrid.drill.harm.plan import Kind, Misfortune
from neurogrid.drill.harm.scene import Act, Scene
from neurogrid.drill.proxy import Proxy, Trap, cut_after, cut_before, delay


class NetworkHarm:
    """Freezes and cuts connections, those to the database also in the moment of a commit."""

    def __init__(self, scene: Scene) -> None:
        """Act on the connections of ``scene``."""
        self._scene = scene

    def acts(self) -> Mapping[Kind, Act]:
        """Return what it can do."""
        gateway, node = self._scene.gateway, self._scene.node
        return {
            Kind.PART_NODE: lambda one: self._freeze(node(one).to_gateways, one.seconds),
            Kind.CUT_NODE: lambda one: self._cut(node(one).to_gateways),
            Kind.FREEZE_REDIS: lambda one: self._freeze(gateway(one).to_redis, one.seconds),
            Kind.FREEZE_DATABASE: lambda one: self._freeze(gateway(one).to_database, one.seconds),
            Kind.CUT_DATABASE: lambda one: self._cut(gateway(one).to_database),
            Kind.CUT_BEFORE_COMMIT: lambda one: self._at_commit(one, cut_before()),
            Kind.CUT_AFTER_COMMIT: lambda one: self._at_commit(one, cut_after()),
            Kind.DELAY_COMMIT: lambda one: self._at_commit(one, delay(one.seconds)),
        }

    async def _freeze(self, proxy: Proxy, seconds: float) -> bool:
        async with self._scene.alone(proxy):
            self._scene.say(f"freeze {proxy.name} for {seconds:g} s")
            proxy.freeze()
            await asyncio.sleep(seconds)
            proxy.thaw()
        return True

    async def _cut(self, proxy: Proxy) -> bool:
        self._scene.say(f"cut {proxy.name}")
        return proxy.cut() > 0

    async def _at_commit(self, misfortune: Misfortune, trap: Trap) -> bool:
        proxy = self._scene.gateway(misfortune).to_database
        if not await proxy.spring(trap):
            return False
        self._scene.say(f"{misfortune.kind.replace('_', ' ')} on {proxy.name}")
        return True
