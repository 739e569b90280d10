"""What is charged when a task is accepted and when an attempt at it ends, as the journal writes it (ADR 0015).

A task is one request on the day it was created. Tokens and compute belong to the day on which the attempt ended, and to
the task that ran: whoever shared its execution (``leader_id``) shows its figures and is charged nothing.
"""

from __future__ import annotations

from typing import Final

from neurogrid.protocol.messages import Usage

NO_KEY: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for the key of tasks that were submitted by a session."""
COLUMNS: Final = "user_id, key_id, model, day, requests, prompt_tokens, completion_tokens, compute_us"
MICROSECONDS: Final = "floor(compute_seconds * 1e6::float8 + 0.5::float8)::bigint"
"""On PostgreSQL. Rounded the same everywhere, or else sums would drift apart."""
SQLITE_MICROSECONDS: Final = "CAST(compute_seconds * 1e6 + 0.5 AS INTEGER)"

Place = tuple[str, str | None, str, str]
"""User, key, model, and the moment whose day it is."""
Figures = tuple[int, int, int, int]
"""Requests, prompt tokens, completion tokens, microseconds."""


def _who(day: str) -> str:
    return f"owner_id, coalesce(key_id, '{NO_KEY}'), model, ({day} AT TIME ZONE 'UTC')::date"


def accepted(rows: str) -> str:
    """Return PostgreSQL's statement that counts new tasks; ``rows`` has owner_id, key_id, model and created_at."""
    return f"""
    INSERT INTO usage_deltas ({COLUMNS})
    SELECT {_who("created_at")}, count(*), 0, 0, 0 FROM {rows} GROUP BY 1, 2, 3, 4"""


def used(rows: str, table: str = "usage_deltas") -> str:
    """Return PostgreSQL's statement that charges what attempts used; ``rows`` has the columns of their tasks."""
    return f"""
    INSERT INTO {table} ({COLUMNS})
    SELECT {_who("finished_at")}, 0, sum(prompt_tokens), sum(completion_tokens),
        sum({MICROSECONDS})
    FROM {rows} WHERE leader_id IS NULL GROUP BY 1, 2, 3, 4"""


def microseconds(seconds: float) -> int:
    """Return ``seconds``, not negative, in whole microseconds, exactly as ``MICROSECONDS`` does."""
    return int(seconds * 1e6 + 0.5)


def of(used: Usage) -> Figures:
    """Return what an attempt is charged."""
    return 0, used.prompt_tokens, used.completion_tokens, microseconds(used.compute_seconds)


def sqlite_insert(table: str) -> str:
    """Return SQLite's statement that adds a row of ``COLUMNS``, its day given as a moment."""
    return f"INSERT INTO {table} ({COLUMNS}) VALUES (?, ?, ?, date(?), ?, ?, ?, ?)"
