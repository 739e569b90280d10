"""The owner of background tasks: whoever starts one also waits for it and hears of its failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Background:
    """A registry of running tasks that logs their failures and ends them together."""

    def __init__(self) -> None:
        """Own nothing yet."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``coroutine`` on its own; a failure is logged."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def every(self, seconds: Callable[[], float], work: Callable[[], Awaitable[Any]], name: str) -> None:
        """Run ``work`` again and again with ``seconds()`` between; a failure is logged and survived."""
        self.spawn(_forever(seconds, work, name), name)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background.failed", task=task.get_name(), exc_info=error)

    async def drain(self, seconds: float) -> None:
        """Wait up to ``seconds`` for what runs to end by itself."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """Cancel everything and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forever(seconds: Callable[[], float], work: Callable[[], Awaitable[Any]], name: str) -> None:
    failing = False
    while True:
        await asyncio.sleep(seconds())
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - this loop must survive whatever one round meets
            log.log(10 if failing else 40, "background.round_failed", task=name, error=repr(error))
            failing = True
        else:
            failing = False
