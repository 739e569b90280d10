"""Requests with one key at one process."""

from __future__ import annotations

import asyncio

import pytest

from neurogrid.idempotency.turns import Turns

pytestmark = pytest.mark.asyncio


async def test_equal_keys_pass_one_at_a_time() -> None:
    """R19: of requests with one key only one is under way; other keys, owners, and those without, are not held up."""
    turns, first_may_go, under_way = Turns(), asyncio.Event(), []

    async def request(owner: str, key: str | None) -> None:
        async with turns.take(owner, key):
            under_way.append((owner, key))
            await first_may_go.wait()

    asked = [("ada", "k"), ("ada", "k"), ("ada", "other"), ("eve", "k"), ("ada", None), ("ada", None)]
    requests = [asyncio.ensure_future(request(owner, key)) for owner, key in asked]
    for _ in range(5):
        await asyncio.sleep(0)
    assert under_way == [asked[0], *asked[2:]]
    first_may_go.set()
    await asyncio.gather(*requests)
    assert under_way[-1] == ("ada", "k")
    assert not turns._locks
    assert not turns._waiting
