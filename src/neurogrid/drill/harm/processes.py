"""What is done to gateways and nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from neurogrid.drill.harm.plan import Kind, Misfortune
from neurogrid.drill.harm.scene import Act, Scene
from neurogrid.drill.process import GridProcess
from neurogrid.drill.proxy import Cut, Trap
from neurogrid.drill.wire import Moment

HELD = 0.3
"""Seconds for which a commit is held up before its gateway dies, so that others come to wait for theirs."""
TERM_WITHIN = 20.0
"""Seconds within which a process that is asked to stop has to."""


class ProcessHarm:
    """Kills, stops and pauses our own processes, and starts them again."""

    def __init__(self, scene: Scene) -> None:
        """Act on the processes of ``scene``."""
        self._scene = scene

    def acts(self) -> Mapping[Kind, Act]:
        """Return what it can do."""
        gateway, node = self._scene.gateway, self._scene.node
        return {
            Kind.KILL_GATEWAY: lambda one: self._kill(gateway(one).process, one.seconds),
            Kind.TERM_GATEWAY: lambda one: self._terminate(gateway(one).process, one.seconds),
            Kind.PAUSE_GATEWAY: lambda one: self._pause(gateway(one).process, one.seconds),
            Kind.KILL_NODE: lambda one: self._kill(node(one).process, one.seconds),
            Kind.TERM_NODE: lambda one: self._terminate(node(one).process, one.seconds),
            Kind.PAUSE_NODE: lambda one: self._pause(node(one).process, one.seconds),
            Kind.KILL_GATEWAY_AT_COMMIT: self._kill_at_commit,
            Kind.PAUSE_GATEWAY_IN_TRANSACTION: self._pause_in_transaction,
        }

    async def _kill(self, process: GridProcess, seconds: float) -> bool:
        async with self._scene.alone(process):
            if not process.alive:
                return False
            self._scene.say(f"kill -9 {process.name}, away for {seconds:g} s")
            process.kill()
            await asyncio.sleep(seconds)
            process.start()
        return True

    async def _kill_at_commit(self, misfortune: Misfortune) -> bool:
        gateway = self._scene.gateway(misfortune)
        process = gateway.process

        async def strike() -> None:
            await asyncio.sleep(HELD)
            process.kill()
            self._scene.say(f"kill -9 {process.name} at a commit, away for {misfortune.seconds:g} s")
            raise Cut

        async with self._scene.alone(process):
            if not await gateway.to_database.spring(Trap(Moment.COMMIT, strike)):
                return False
            await asyncio.sleep(HELD + misfortune.seconds)
            process.start()
        return True

    async def _terminate(self, process: GridProcess, seconds: float) -> bool:
        async with self._scene.alone(process):
            if not process.alive:
                return False
            self._scene.say(f"SIGTERM {process.name}")
            code = await process.terminate(TERM_WITHIN)
            if code != 0:
                how = f"ended with {code}" if code is not None else f"went on for {TERM_WITHIN:g} s"
                self._scene.complain(f"{process.name} {how} after SIGTERM")
                process.kill()
            await asyncio.sleep(seconds)
            process.start()
        return True

    async def _pause(self, process: GridProcess, seconds: float) -> bool:
        async with self._scene.alone(process):
            if not process.alive:
                return False
            self._scene.say(f"pause {process.name} for {seconds:g} s")
            process.pause()
            await asyncio.sleep(seconds)
            process.resume()
        return True

    async def _pause_in_transaction(self, misfortune: Misfortune) -> bool:
        gateway = self._scene.gateway(misfortune)
        process = gateway.process

        async def strike() -> None:
            process.pause()
            self._scene.say(f"pause {process.name} in a transaction for {misfortune.seconds:g} s")

        async with self._scene.alone(process):
            if not await gateway.to_database.spring(Trap(Moment.HELD_OPEN, strike)):
                return False
            await asyncio.sleep(misfortune.seconds)
            process.resume()
        return True
