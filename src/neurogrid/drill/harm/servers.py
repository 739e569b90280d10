"""What is done to PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from neurogrid.drill.harm.plan import Kind, Misfortune
from neurogrid.drill.harm.scene import Act, Scene


class ServerHarm:
    """Crashes, pauses and empties the servers, and starts them again."""

    def __init__(self, scene: Scene) -> None:
        """Act on the servers of ``scene``."""
        self._scene = scene
        self._database = scene.grid.database
        self._redis = scene.grid.redis

    def acts(self) -> Mapping[Kind, Act]:
        """Return what it can do."""
        return {
            Kind.KILL_REDIS: self._kill_redis,
            Kind.PAUSE_REDIS: self._pause_redis,
            Kind.FLUSH_REDIS: self._flush_redis,
            Kind.CRASH_DATABASE: self._crash_database,
            Kind.PAUSE_DATABASE: self._pause_database,
            Kind.KILL_BACKEND: self._kill_backend,
            Kind.PAUSE_BACKEND: self._pause_backend,
        }

    async def _kill_redis(self, misfortune: Misfortune) -> bool:
        async with self._scene.alone(self._redis):
            self._scene.say(f"kill -9 Valkey, away for {misfortune.seconds:g} s")
            await self._redis.kill()
            await asyncio.sleep(misfortune.seconds)
            await self._redis.start()
        return True

    async def _pause_redis(self, misfortune: Misfortune) -> bool:
        async with self._scene.alone(self._redis):
            self._scene.say(f"pause Valkey for {misfortune.seconds:g} s")
            self._redis.pause()
            await asyncio.sleep(misfortune.seconds)
            self._redis.resume()
        return True

    async def _flush_redis(self, misfortune: Misfortune) -> bool:
        del misfortune
        async with self._scene.alone(self._redis):
            self._scene.say("FLUSHALL")
            return await self._redis.flush()

    async def _crash_database(self, misfortune: Misfortune) -> bool:
        async with self._scene.alone(self._database):
            self._scene.say(f"crash PostgreSQL, away for {misfortune.seconds:g} s")
            await self._database.crash()
            await asyncio.sleep(misfortune.seconds)
            await self._database.restart()
        return True

    async def _pause_database(self, misfortune: Misfortune) -> bool:
        async with self._scene.alone(self._database):
            self._scene.say(f"pause PostgreSQL for {misfortune.seconds:g} s")
            self._database.pause()
            await asyncio.sleep(misfortune.seconds)
            self._database.resume()
        return True

    async def _kill_backend(self, misfortune: Misfortune) -> bool:
        del misfortune
        async with self._scene.alone(self._database):
            self._scene.say("kill -9 a backend of PostgreSQL, upon which it restarts all of them")
            return self._database.kill_one(self._scene.choose)

    async def _pause_backend(self, misfortune: Misfortune) -> bool:
        async with self._scene.alone(self._database):
            self._scene.say(f"pause a backend of PostgreSQL for {misfortune.seconds:g} s")
            if not self._database.pause_one(self._scene.choose):
                return False
            await asyncio.sleep(misfortune.seconds)
            self._database.resume()
        return True
