"""The tasks that one request asks for: how many there are, and how many of them may be made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import HTTPConnection, Request

from neurogrid.limits.errors import LimitExceeded

FIELD = "tasks"
ROWS_KEY = "neurogrid.rows"
"""Where the rows of a request lie in its scope."""
GRANT_KEY = "neurogrid.grant"
"""Where that lies in its scope which grants rows when it is known how many there are."""


async def rows_of(request: HTTPConnection) -> int:
    """Return how many rows a request has whose body was read already; at least 1, also without a body."""
    body: Any = None
    if isinstance(request, Request) and await request.body():
        body = await request.json()
    rows = body.get(FIELD) if isinstance(body, dict) else None
    return max(1, len(rows)) if isinstance(rows, list) else 1


class Rows:
    """How many rows may become tasks; what is not used is given back when the request is answered."""

    def __init__(self, granted: int | None, refusal: Callable[[], LimitExceeded] | None = None) -> None:
        """Grant so many (``None``: any number); ``refusal`` makes the error of those beyond."""
        self._left = granted
        self._refusal = refusal

    @property
    def empty(self) -> bool:
        """Whether none may become a task."""
        return self._left == 0

    @property
    def unused(self) -> int:
        """How many were not used."""
        return self._left or 0

    def use(self) -> None:
        """Use one. Raises ``LimitExceeded`` when there is none."""
        if self._left is None:
            return
        if self._left == 0 and self._refusal is not None:
            raise self._refusal()
        self._left -= 1

    def put_back(self) -> None:
        """Give one back that became no task."""
        if self._left is not None:
            self._left += 1


Grant = Callable[[int], Awaitable[Rows]]
"""Counts so many rows and returns how many of them may become tasks. Raises ``LimitExceeded`` when none may."""
