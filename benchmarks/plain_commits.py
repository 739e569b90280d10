"""The plainest group commit of the rows that a task begins with: one writer, two multi-row INSERTs a commit."""

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
"""A row of ``tasks``, with all its indexes, but without any decision."""
_NAMES, _VALUES = ", ".join(f'"{name}"' for name in ROW), ", ".join(ROW.values())
EVENTS = (("task.queued", 0), ("task.running", 1))
"""The type and the attempt of each of a task's first events."""
_EVENT = "INSERT INTO task_events (task_id, attempt, seq, owner_id, xid, type, at, data) "
Plain = Callable[[int, int], Awaitable[float]]
"""Writes so many commits of so many tasks with their events; returns tasks a second."""


async def on_postgres(url: str) -> Plain:
    """Return the loop for a migrated database."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(address)
    insert = await connection.prepare(
        f"INSERT INTO tasks (id, owner_id, input, {_NAMES}) "
        f"SELECT id, owner, input, {_VALUES} FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS d(id, owner, input)"
    )
    log = await connection.prepare(
        f"{_EVENT} SELECT id, attempt, 1, owner, 0, type, CURRENT_TIMESTAMP, '{{}}' "
        "FROM unnest($1::uuid[], $2::uuid[]) AS d(id, owner), unnest($3::text[], $4::int[]) AS e(type, attempt)"
    )
    types, attempts = [type for type, _ in EVENTS], [attempt for _, attempt in EVENTS]

    async def plain(commits: int, tasks: int) -> float:
        owner = new_id()
        began = time.perf_counter()
        for _ in range(commits):
            ids, owners = [new_id() for _ in range(tasks)], [owner] * tasks
            async with connection.transaction():
                await insert.fetch(ids, owners, [PAYLOAD] * tasks)
                await log.fetch(ids, owners, types, attempts)
        return commits * tasks / (time.perf_counter() - began)

    return plain


def on_sqlite(url: str) -> Plain:
    """Return the loop for a migrated database; it runs in a thread."""
    path = make_url(url).database or ""
    insert = f"INSERT INTO tasks (id, owner_id, input, {_NAMES}) VALUES (?, ?, ?, {_VALUES})"

    log = f"{_EVENT} VALUES (?, ?, 1, ?, 0, ?, CURRENT_TIMESTAMP, '{{}}')"

    def write(commits: int, tasks: int) -> float:
        owner = new_id()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for pragma in SQLITE_PRAGMAS:
                connection.execute(pragma)
            began = time.perf_counter()
            for _ in range(commits):
                connection.execute("BEGIN IMMEDIATE")
                ids = [new_id() for _ in range(tasks)]
                connection.executemany(insert, [(id, owner, PAYLOAD) for id in ids])
                connection.executemany(
                    log, [(id, attempt, owner, type) for id in ids for type, attempt in EVENTS]
                )
                connection.execute("COMMIT")
            return commits * tasks / (time.perf_counter() - began)

    async def plain(commits: int, tasks: int) -> float:
        return await asyncio.to_thread(write, commits, tasks)

    return plain
