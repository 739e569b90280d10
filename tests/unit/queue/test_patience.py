"""Work that is repeated while the database is away."""

from __future__ import annotations

from collections import deque

import pytest
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from neurogrid.queue.patience import patiently
from tests.support.virtual_time import run_in_virtual_time

AWAY = [
    ConnectionRefusedError(),
    TimeoutError(),
    PoolTimeoutError("no connection"),
    OperationalError("SELECT", None, Exception("locked")),
    InterfaceError("SELECT", None, Exception("closed")),
]


def test_an_outage_is_waited_for() -> None:
    """R6: what has to be written is tried until the database is back, whatever form its absence takes."""
    failures = deque(AWAY)

    async def work() -> str:
        if failures:
            raise failures.popleft()
        return "done"

    assert run_in_virtual_time(patiently(work)) == "done"
    assert not failures


@pytest.mark.parametrize("error", [DataError("SELECT", None, Exception("NUL")), ValueError("naive time")])
def test_what_is_wrong_with_the_work_is_raised(error: Exception) -> None:
    """What no patience mends is not repeated."""
    tries: list[int] = []

    async def work() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        run_in_virtual_time(patiently(work))
    assert len(tries) == 1
