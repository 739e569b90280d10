"""Waiting for what nobody announces: processes and databases are asked again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


async def until(ready: Callable[[], Awaitable[bool]], seconds: float, every: float) -> bool:
    """Ask ``ready`` until it says yes, at most for ``seconds``; return its last word."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await ready():  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(every)
            return True
    return False
