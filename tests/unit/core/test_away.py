"""What counts as a database that is away, and what does not."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from neurogrid.core.db import is_away

STARTING = asyncpg.CannotConnectNowError("the database system is starting up")
CUT = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
WRONG = asyncpg.UndefinedTableError('relation "task" does not exist')


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (PoolTimeout(), True),
        (STARTING, True),
        (CUT, True),
        (asyncpg.TooManyConnectionsError("sorry"), True),
        (DBAPIError("SELECT 1", {}, STARTING), True),
        (DBAPIError("SELECT 1", {}, ValueError("odd"), connection_invalidated=True), True),
        (WRONG, False),
        (ProgrammingError("SELECT 1", {}, WRONG), False),
        (ValueError("odd"), False),
        (None, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_time_may_mend_counts(error: BaseException | None, *, away: bool) -> None:
    """Clients are told to come back for an outage, and never for a defect of ours."""
    assert is_away(error) is away
