"""Waiting for what will become true, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds; generous, because machines that run tests are often busy."""


@overload
async def until(
    predicate: Callable[[], Awaitable[T]], timeout: float = ..., *, interval: float = ..., what: str = ...
) -> T: ...
@overload
async def until(
    predicate: Callable[[], T], timeout: float = ..., *, interval: float = ..., what: str = ...
) -> T: ...
async def until(
    predicate: Callable[[], Any], timeout: float = PATIENCE, *, interval: float = 0.02, what: str = ""
) -> Any:
    """Return the first truthy value of ``predicate``, plain or awaitable; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {timeout} s: {what or predicate}")
        await asyncio.sleep(interval)


def until_blocking(
    predicate: Callable[[], T], timeout: float = PATIENCE, *, interval: float = 0.05, what: str = ""
) -> T:
    """Do what ``until`` does in a test without an event loop."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {timeout} s: {what or predicate}")
        time.sleep(interval)
    return value
