"""The owner of background tasks: whoever starts one also waits for it and hears of its failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)

ROUND_GRACE = 2.0
"""Seconds a round under way gets to end by itself: cut off, it could leave a connection half used."""


class Background:
    """A registry of running tasks that logs their failures and ends them together."""

    def __init__(self) -> None:
        """Own nothing yet."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rounds: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``coroutine`` on its own; a failure is logged."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def every(self, seconds: Callable[[], float], work: Callable[[], Awaitable[Any]], name: str) -> None:
        """Run ``work`` again and again with ``seconds()`` between; a failure is logged and survived."""
        rounds = self.spawn(_forever(seconds, work, name, self._closing), name)
        self._rounds.add(rounds)
        rounds.add_done_callback(self._rounds.discard)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background.failed", task=task.get_name(), exc_info=error)

    async def drain(self, seconds: float) -> None:
        """Wait up to ``seconds`` for what runs to end by itself."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """Let the rounds under way end, cancel all else and wait for it."""
        self._closing.set()
        if self._rounds:
            await asyncio.wait(self._rounds, timeout=ROUND_GRACE)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forever(
    seconds: Callable[[], float], work: Callable[[], Awaitable[Any]], name: str, closing: asyncio.Event
) -> None:
    failing = False
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds()):
                await closing.wait()
            return
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - this loop must survive whatever one round meets
            log.log(10 if failing else 40, "background.round_failed", task=name, error=repr(error))
            failing = True
        else:
            failing = False
