"""API keys, made and tried out over HTTP."""

from __future__ import annotations

from typing import Any

from tests.support.gateway import Account, RunningGateway

CREATED = 201


async def made(account: Account, **fields: Any) -> Any:
    """Make a key and return the answer."""
    answer = await account.http.post("/v1/keys", json={"name": "laptop", **fields})
    assert answer.status_code == CREATED, answer.text
    return answer.json()


async def holds(grid: RunningGateway, key: str, path: str = "/v1/tasks") -> int:
    """Return how a request with ``key`` is answered."""
    client = await grid.client(key)
    return (await client.get(path)).status_code
