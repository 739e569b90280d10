"""The journal's writer on PostgreSQL: asyncpg, one statement for all rows of a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, cast

import asyncpg
from msgspec import structs
from sqlalchemy.engine import URL

from neurogrid.queue import (
    eventdata,
    postgres_heirs,
    postgres_held,
    postgres_inserts,
    postgres_moves,
    statements,
)
from neurogrid.queue.answers import Answer, Canceled, Finished, Requeued
from neurogrid.queue.ops import Batch, Cancel, Evict, Finish, Insert, Renew, Requeue
from neurogrid.queue.policy import Charge, Status
from neurogrid.queue.postgres_claims import Claims
from neurogrid.queue.postgres_heirs import ended, with_heirs
from neurogrid.queue.writer import ConnectionLost, RowRejected, Transient

SESSION = {
    # A paused gateway must not hold locks (R10); the server gives up on it, not the others.
    "idle_in_transaction_session_timeout": "2s",
    "lock_timeout": "1s",
    "statement_timeout": "4s",
    # A plan made on a young table would scan it for ever (R13).
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "application_name": "neurogrid-journal",
}
CONNECT_TIMEOUT = 4.0
COMMAND_TIMEOUT = 4.5

TRANSIENT = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
# What is wrong with the server or the way to it, and with no row: wait, and look for it anew.
LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
)

_Op = TypeVar("_Op")
_Row = Any


class PostgresWriter:
    """One connection of its own; sessions and pools of the rest of the program do not touch it."""

    def __init__(self, url: URL, *, fenced: bool = True) -> None:
        """Prepare to connect to ``url``."""
        self._finish = statements.FINISH if fenced else statements.UNFENCED_FINISH
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection: asyncpg.Connection[Any] | None = None
        self._claims = Claims()

    async def connect(self) -> None:
        """(Re)open the connection. Raises ``ConnectionLost``."""
        await self.close()
        try:
            self._connection = await asyncpg.connect(
                self._dsn, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT, server_settings=SESSION
            )
        except (asyncpg.PostgresError, *LOST) as error:
            raise ConnectionLost(str(error)) from error

    async def close(self) -> None:
        """Drop the connection without waiting for a server that may be gone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def write(self, batch: Batch, *, repeat: bool) -> Sequence[Sequence[Answer]]:
        """Commit ``batch``; see ``Writer.write``."""
        connection = self._connection
        if connection is None or connection.is_closed():
            msg = "not connected"
            raise ConnectionLost(msg)
        joining = [op for op in batch.inserts if op.deterministic]
        try:
            if not joining:
                return await self._commit(connection, batch, repeat=repeat)
            return await self._commit_both(connection, batch, joining, repeat=repeat)
        except asyncpg.InterfaceError as error:
            if isinstance(error, ValueError):  # asyncpg's own DataError: a value no column takes
                raise RowRejected(str(error)) from error
            raise ConnectionLost(str(error)) from error
        except TRANSIENT as error:
            raise Transient(str(error)) from error
        except LOST as error:
            raise ConnectionLost(str(error)) from error
        except asyncpg.PostgresError as error:
            raise RowRejected(str(error)) from error

    async def _commit(
        self, connection: asyncpg.Connection[Any], batch: Batch, *, repeat: bool
    ) -> Sequence[Sequence[Answer]]:
        together = repeat or postgres_inserts.take_turns(batch.inserts) or (batch.wants and self._claims.met)
        if sum(1 for rows in batch.lists() if rows) == 1 and not together:
            return await self._run(connection, batch, repeat=False)  # one statement commits by itself
        async with connection.transaction():
            return await self._run(connection, batch, repeat=repeat)

    async def _commit_both(
        self, connection: asyncpg.Connection[Any], batch: Batch, joining: Sequence[Insert], *, repeat: bool
    ) -> Sequence[Sequence[Answer]]:
        """Commit tasks that may share an execution in a second transaction, which waits with nothing locked."""
        alone = [op for op in batch.inserts if not op.deterministic]
        others = replace(batch, inserts=alone)
        *rest, inserted = await self._commit(connection, others, repeat=repeat)
        async with connection.transaction():
            joined = await postgres_inserts.join(connection, joining, repeat=repeat)
        answers = dict(zip((op.id for op in (*alone, *joining)), (*inserted, *joined), strict=True))
        return (*rest, [answers[op.id] for op in batch.inserts])

    async def _run(
        self, connection: asyncpg.Connection[Any], batch: Batch, *, repeat: bool
    ) -> Sequence[Sequence[Answer]]:
        return (
            await _renew(connection, batch.renews),
            await _finish(connection, batch.finishes, self._finish, repeat=repeat),
            await _requeue(connection, batch.requeues, repeat=repeat),
            await _evict(connection, batch.evicts),
            await _cancel(connection, batch.cancels, repeat=repeat),
            await postgres_moves.expire(connection, batch.expires, repeat=repeat),
            await postgres_heirs.settle_all(connection, batch.settles),
            await postgres_held.admit_all(connection, batch.admits),
            await postgres_moves.bill(connection, batch.bills),
            await postgres_moves.replay(connection, batch.replays, repeat=repeat),
            await self._claims.claim(connection, batch.wants, repeat=repeat),
            await postgres_inserts.insert(connection, batch.inserts, repeat=repeat),
        )


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _sorted(ops: Sequence[_Op], key: Callable[[_Op], str]) -> list[_Op]:
    return sorted(ops, key=key)


async def _renew(connection: asyncpg.Connection[Any], ops: Sequence[Renew]) -> list[Answer]:
    if not ops:
        return []
    rows = [(op.session.id, op.session.gen, op.lease) for op in _sorted(ops, lambda op: op.session.id)]
    renewed = {tuple(row) for row in await connection.fetch(statements.RENEW, *_columns(rows))}
    return [(op.session.id, op.session.gen) in renewed or None for op in ops]


def _finish_row(op: Finish) -> tuple[Any, ...]:
    return (
        op.task, op.attempt, op.status.value, op.final_seq, op.output, op.output_apart, op.error,
        int(op.charge is Charge.ERROR), op.dead_letter, op.usage.prompt_tokens, op.usage.completion_tokens,
        op.usage.compute_seconds, op.write_id, eventdata.finished(op),
    )  # fmt: skip


async def _finish(
    connection: asyncpg.Connection[Any], ops: Sequence[Finish], statement: str, *, repeat: bool
) -> list[Answer]:
    if not ops:
        return []
    rows = [_finish_row(op) for op in _sorted(ops, lambda op: op.task)]
    found = await connection.fetch(statement, *_columns(rows))
    if repeat:
        keys = _columns([(op.task, op.write_id) for op in ops])
        found += await connection.fetch(statements.FINISHED_BEFORE, *keys)
    done = await with_heirs(connection, ended(found, _finished))
    awaited = {row[3]: row[0] for row in found if row[-1]}
    for owner, admitted in (await postgres_held.admit(connection, awaited)).items():
        done[awaited[owner]] = structs.replace(cast("Finished", done[awaited[owner]]), admitted=admitted)
    return [done.get(op.write_id) for op in ops]


def _finished(
    task: str, owner: str, attempt: int, final_seq: int, status: str, node: str, *rest: Any
) -> Finished:
    started_at, finished_at, _ = rest
    return Finished(task, owner, attempt, final_seq, Status(status), node, started_at, finished_at)


def _requeue_row(op: Requeue) -> tuple[Any, ...]:
    session = op.session
    return (
        op.task, op.attempt, op.status.value, int(op.charge is Charge.ERROR), int(op.charge is Charge.LOSS),
        op.delay, op.error, session and session.id, session and session.gen, op.write_id,
        eventdata.requeued(op), op.guard and op.guard.value,
    )  # fmt: skip


async def _requeue(
    connection: asyncpg.Connection[Any], ops: Sequence[Requeue], *, repeat: bool
) -> list[Answer]:
    if not ops:
        return []
    rows = [_requeue_row(op) for op in _sorted(ops, lambda op: op.task)]
    found = await connection.fetch(statements.REQUEUE, *_columns(rows))
    if repeat:
        keys = _columns([(op.task, op.write_id) for op in ops])
        found += await connection.fetch(statements.MOVED_BEFORE, *keys)
    done = await with_heirs(connection, ended(found, _requeued))
    return [done.get(op.write_id) for op in ops]


def _requeued(task: str, owner: str, lane: str, attempt: int, status: str, *rest: Any) -> Requeued:
    return Requeued(task, owner, lane, attempt, Status(status), *rest)


async def _evict(connection: asyncpg.Connection[Any], ops: Sequence[Evict]) -> list[Answer]:
    if not ops:
        return []
    rows = [(op.session.id, op.session.gen) for op in _sorted(ops, lambda op: op.session.id)]
    gone = {tuple(row) for row in await connection.fetch(statements.EVICT, *_columns(rows))}
    return [(op.session.id, op.session.gen) in gone or None for op in ops]


async def _cancel(
    connection: asyncpg.Connection[Any], ops: Sequence[Cancel], *, repeat: bool
) -> list[Answer]:
    if not ops:
        return []
    keys = _columns([(op.task, op.owner, op.write_id) for op in _sorted(ops, lambda op: op.task)])
    found = await connection.fetch(statements.CANCEL, *keys, eventdata.CANCELED)
    over = ended(found, Canceled)
    if repeat:
        pairs = _columns([(op.task, op.write_id) for op in ops])
        over |= ended(await connection.fetch(statements.MOVED_BEFORE, *pairs), _canceled_before)
    done = await with_heirs(connection, over)
    return [done.get(op.write_id) for op in ops]


def _canceled_before(
    task: str, owner: str, _: str, attempt: int, __: str, at: datetime, ___: str
) -> Canceled:
    # Who ran it is no longer known; reconciliation stops the node (R7).
    return Canceled(task, owner, attempt, None, at)
