"""Reads of the hot path: SQLAlchemy says what to read, once; the driver alone runs it, every time.

Going through an engine costs 1 to 2 ms of CPU for one row by key on aiosqlite (a thread hop for each step) and
three round trips on PostgreSQL. A ``Prepared`` statement is compiled when its module is imported, and runs
on the raw driver: one round trip on PostgreSQL, one thread hop for all reads that wait on SQLite.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from sqlalchemy import Dialect, Float, Select
from sqlalchemy.engine import URL

Row: TypeAlias = Mapping[str, Any]
"""A row by column name."""

_Process: TypeAlias = Callable[[Any], Any]

ANSWER_WITHIN = 4.0
"""Seconds in which a read answers, else it is given up: whoever submits hears within 5 s (design §8)."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as one driver takes it."""

    sql: str
    parameters: tuple[tuple[str, _Process | None], ...]
    names: tuple[str, ...]
    processes: tuple[tuple[str, _Process], ...]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        return [process(values[name]) if process else values[name] for name, process in self.parameters]

    def row(self, record: Sequence[Any]) -> Row:
        row = dict(zip(self.names, record, strict=True))
        for name, process in self.processes:
            row[name] = process(row[name])
        return row


def _compile(statement: Select[*tuple[Any, ...]], dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    names: Sequence[str] = compiled.positiontup or ()
    binds = [(name, compiled.binds[name].type.dialect_impl(dialect)) for name in names]
    columns = [(str(column.key), column.type) for column in statement.selected_columns]
    processes = [
        (name, type_.dialect_impl(dialect).result_processor(dialect, None))
        for name, type_ in columns
        if not isinstance(type_, Float)  # both drivers give floats; the processor wants a PostgreSQL oid
    ]
    return _Compiled(
        compiled.string,
        tuple((name, type_.bind_processor(dialect)) for name, type_ in binds),
        tuple(name for name, _ in columns),
        tuple((name, process) for name, process in processes if process is not None),
    )


class Prepared:
    """A SELECT whose values are all ``bindparam``s; compiled for a dialect when first used on it."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        """Prepare ``statement``."""
        self._statement = statement

    @cached_property
    def postgres(self) -> _Compiled:
        """The statement for asyncpg."""
        from sqlalchemy.dialects.postgresql.asyncpg import dialect  # noqa: PLC0415 - only where it is used

        return _compile(self._statement, dialect())  # type: ignore[no-untyped-call]

    @cached_property
    def sqlite(self) -> _Compiled:
        """The statement for the standard library's sqlite3."""
        from sqlalchemy.dialects.sqlite.pysqlite import dialect  # noqa: PLC0415 - only where it is used

        return _compile(self._statement, dialect())


class Reader(Protocol):
    """Runs prepared reads."""

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Row]:
        """Return the rows of ``statement``."""

    async def close(self) -> None:
        """Close the connections."""


class PostgresReader:
    """Reads on a pool of its own, outside transactions."""

    def __init__(self, url: URL, size: int) -> None:
        """Read from ``url`` over at most ``size`` connections."""
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._size = size
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Row]:
        """Return the rows of ``statement``. Raises ``TimeoutError`` when they do not come in time."""
        compiled = statement.postgres
        async with asyncio.timeout(
            ANSWER_WITHIN
        ):  # waiting for a connection, too, which may be for its opening
            pool = self._pool or await self._open()
            connection = await pool.acquire()
            try:
                records = await connection.fetch(compiled.sql, *compiled.arguments(values))
            except asyncio.CancelledError:
                connection.terminate()  # else the pool waits until a hung server takes the cancellation
                raise
            finally:
                await pool.release(connection)
        return [compiled.row(record) for record in records]

    async def _open(self) -> Any:
        import asyncpg  # noqa: PLC0415 - only where it is used

        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn, min_size=0, max_size=self._size, timeout=ANSWER_WITHIN, reset=_keep
                )
        return self._pool

    async def close(self) -> None:
        """Close the pool without waiting for a server that may be gone."""
        if self._pool is not None:
            self._pool.terminate()


async def _keep(connection: object) -> None:
    """Leave the session as it is: reads change nothing in it, and a reset is a round trip."""
    del connection


@dataclass(slots=True)
class _Read:
    statement: Prepared
    values: Mapping[str, Any]
    answer: asyncio.Future[list[Row]]


class SqliteReader:
    """Reads in one thread; all reads that arrive while others are under way go together (R14: short)."""

    def __init__(self, path: str) -> None:
        """Read from the file ``path``."""
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[_Read] = []
        self._running: asyncio.Task[None] | None = None

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Row]:
        """Return the rows of ``statement``."""
        loop = asyncio.get_running_loop()
        read = _Read(statement, values, loop.create_future())
        self._waiting.append(read)
        if self._running is None:
            self._running = loop.create_task(self._run(), name="sqlite.reader")
        return await read.answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, batch)
                for read, answer in zip(batch, answers, strict=True):
                    if read.answer.done():
                        continue
                    if isinstance(answer, Exception):
                        read.answer.set_exception(answer)
                    else:
                        read.answer.set_result(answer)
        finally:
            self._running = None

    def _read(self, batch: list[_Read]) -> list[list[Row] | Exception]:
        answers: list[list[Row] | Exception] = []
        for read in batch:
            try:
                compiled = read.statement.sqlite
                cursor = self._connected().execute(compiled.sql, compiled.arguments(read.values))
                answers.append([compiled.row(record) for record in cursor])
            except Exception as error:  # noqa: BLE001  its caller's, who would else wait for ever
                answers.append(error)
        return answers

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute("PRAGMA busy_timeout = 5000")
        return self._connection

    async def close(self) -> None:
        """Close the file."""
        if self._running is not None:
            await self._running
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._connection = None
        self._thread.shutdown(wait=False)
