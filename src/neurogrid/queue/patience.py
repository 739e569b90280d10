"""Work that has to be done some time, however long the database is away (R6, R8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

log = structlog.get_logger(__name__)

REPEAT_AFTER = 0.5
_T = TypeVar("_T")


async def patiently(work: Callable[[], Awaitable[_T]]) -> _T:
    """Return what ``work`` returns, repeating it while the database is away; it must be safe to repeat.

    What is wrong with the work itself is raised.
    """
    while True:
        try:
            return await work()
        except Exception as error:
            if not _away(error):
                raise
            log.warning("database.away", error=repr(error))
        await asyncio.sleep(REPEAT_AFTER)


def _away(error: Exception) -> bool:
    if isinstance(error, DataError | IntegrityError | ProgrammingError):
        return False
    # While connecting, the driver's own errors come through; on PostgreSQL they have an SQLSTATE.
    return isinstance(error, OSError | TimeoutError | SQLAlchemyError) or hasattr(error, "sqlstate")
