"""The plainest group commit: one writer, one multi-row INSERT of tasks after the other."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing

import asyncpg
from sqlalchemy import make_url

from neurogrid.core.db import SQLITE_PRAGMAS
from neurogrid.core.ids import new_id
from neurogrid.queue.tables import Task

PAYLOAD = '{"hello":"world"}'
_LITERALS = {str: "''", int: "1", float: "1", bool: "false"}
ROW = {
    column.name: _LITERALS.get(column.type.python_type, "CURRENT_TIMESTAMP")
    for column in Task.__table__.columns
    if not column.nullable and column.name not in {"id", "owner_id", "input"}
} | {"status": "'running'", "input_hash": f"'{'0' * 64}'"}
"""A row of ``tasks``, with all its indexes, but neither events nor decisions."""
_NAMES, _VALUES = ", ".join(f'"{name}"' for name in ROW), ", ".join(ROW.values())
Plain = Callable[[int, int], Awaitable[float]]
"""Writes so many commits of so many rows each; returns rows a second."""


async def on_postgres(url: str) -> Plain:
    """Return the loop for a migrated database."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(address)
    insert = await connection.prepare(
        f"INSERT INTO tasks (id, owner_id, input, {_NAMES}) "
        f"SELECT id, owner, input, {_VALUES} FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS d(id, owner, input)"
    )

    async def plain(commits: int, rows: int) -> float:
        owner = new_id()
        began = time.perf_counter()
        for _ in range(commits):
            await insert.fetch([new_id() for _ in range(rows)], [owner] * rows, [PAYLOAD] * rows)
        return commits * rows / (time.perf_counter() - began)

    return plain


def on_sqlite(url: str) -> Plain:
    """Return the loop for a migrated database; it runs in a thread."""
    path = make_url(url).database or ""
    insert = f"INSERT INTO tasks (id, owner_id, input, {_NAMES}) VALUES (?, ?, ?, {_VALUES})"

    def write(commits: int, rows: int) -> float:
        owner = new_id()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for pragma in SQLITE_PRAGMAS:
                connection.execute(pragma)
            began = time.perf_counter()
            for _ in range(commits):
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(insert, [(new_id(), owner, PAYLOAD) for _ in range(rows)])
                connection.execute("COMMIT")
            return commits * rows / (time.perf_counter() - began)

    async def plain(commits: int, rows: int) -> float:
        return await asyncio.to_thread(write, commits, rows)

    return plain
