"""The database: table base, column types that mean the same on PostgreSQL and SQLite, connections.

Reads run outside transactions on a pool; whoever writes outside the journal takes ``Database.transaction``.
On SQLite all writers of the process take turns on one lock and begin with ``BEGIN IMMEDIATE`` (R14).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Dialect,
    Executable,
    MetaData,
    String,
    bindparam,
    event,
    func,
    make_url,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from neurogrid.core.ids import now
from neurogrid.core.prepared import ANSWER_WITHIN, PostgresReader, Prepared, Reader, Row, SqliteReader

SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -16000",
)
POOL_SIZE = 8
STATEMENT_WITHIN = 30.0

T = TypeVar("T")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = metadata


Id = String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
"""A UUID as text in canonical form; the native type on PostgreSQL."""

SQLITE_TIME = "%Y-%m-%d %H:%M:%S.%f"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC: ``timestamptz`` on PostgreSQL, sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, which would mean something else on each machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a time without a zone cannot be stored"
            raise ValueError(msg)
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def to_sqlite_time(moment: datetime) -> str:
    """Return ``moment`` as SQLite keeps it, for statements written by hand."""
    return moment.astimezone(UTC).strftime(SQLITE_TIME)


def from_sqlite_time(text: str) -> datetime:
    """Read what ``to_sqlite_time`` wrote."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# SQLSTATE classes that say something of the server or the way to it, and nothing of the statement.
_AWAY_CLASSES = ("08", "53", "57", "58")


def is_away(error: BaseException | None) -> bool:
    """Tell whether ``error``, raised by a read or a transaction, says that the database does not answer now."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_away(error.orig)
    if isinstance(error, OSError | TimeoutError | PoolTimeout):
        return True
    state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_AWAY_CLASSES)


class Database:
    """The connections of one process to the truth."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        """Prepare connections to ``url``; nothing is opened yet."""
        self.url: URL = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.write_lock: asyncio.Lock | nullcontext[None] = asyncio.Lock() if self.sqlite else nullcontext()
        self._engine = self._make_engine(pool_size)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._prepared: Reader = (
            SqliteReader(self.url.database or "") if self.sqlite else PostgresReader(self.url, pool_size)
        )
        self._given_up: set[asyncio.Task[Any]] = set()

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for whoever needs more than reads and transactions."""
        return self._engine

    def _make_engine(self, pool_size: int) -> AsyncEngine:
        if not self.sqlite:
            return create_async_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_timeout=5,
                pool_pre_ping=True,
                connect_args={"timeout": ANSWER_WITHIN, "command_timeout": STATEMENT_WITHIN},
            )
        if self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(self.url, pool_size=pool_size, pool_timeout=5)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
        return engine

    def clock(self, seconds: float = 0.0) -> ColumnElement[Any]:
        """The database's own clock, plus ``seconds``; on SQLite it is this process' clock (R2)."""
        if self.sqlite:
            return bindparam(None, now() + timedelta(seconds=seconds), type_=UtcDateTime, unique=True)
        return func.clock_timestamp() + timedelta(seconds=seconds)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Yield a session whose work is committed at the end of the block, or not at all.

        Raises ``TimeoutError`` when the database does not let it begin within ``ANSWER_WITHIN`` seconds.
        """
        async with self.write_lock:
            connection = await self._answer(self._connect())
            try:
                async with self._sessions(bind=connection) as session, session.begin():
                    yield session
            finally:
                await connection.close()

    async def all(self, statement: Executable) -> list[Row]:
        """Run one read outside any transaction and return its rows; ``TimeoutError`` as for ``transaction``."""
        return await self._answer(self._all(statement))

    async def first(self, statement: Executable) -> Row | None:
        """Run one read outside any transaction and return its first row, if any; ``TimeoutError`` as above."""
        return await self._answer(self._first(statement))

    async def _all(self, statement: Executable) -> list[Row]:
        async with self._reader.connect() as connection:
            return cast("list[Row]", (await connection.execute(statement)).mappings().all())

    async def _first(self, statement: Executable) -> Row | None:
        async with self._reader.connect() as connection:
            return cast("Row | None", (await connection.execute(statement)).mappings().first())

    async def _connect(self) -> AsyncConnection:
        return await self._engine.connect()

    async def _answer(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns, or give it up in time; a file is never away, only slow.

        It is not waited for then: the pool takes as long again to part from a connection that hangs.
        """
        if self.sqlite:
            return await work
        running = asyncio.create_task(work, name="database.answer")
        try:
            await asyncio.wait({running}, timeout=ANSWER_WITHIN)
        finally:
            if not running.done():
                self._give_up(running)
        if not running.done():
            msg = f"the database does not answer within {ANSWER_WITHIN:g} s"
            raise TimeoutError(msg)
        return running.result()

    def _give_up(self, running: asyncio.Task[Any]) -> None:
        running.cancel()
        self._given_up.add(running)
        running.add_done_callback(self._gone)

    def _gone(self, given_up: asyncio.Task[Any]) -> None:
        self._given_up.discard(given_up)
        if not given_up.cancelled():
            given_up.exception()  # nobody is left to hear of it

    async def read(self, statement: Prepared, **values: Any) -> list[Row]:
        """Run one read of the hot path and return its rows."""
        return await self._prepared.fetch(statement, values)

    async def read_one(self, statement: Prepared, **values: Any) -> Row | None:
        """Run one read of the hot path and return its first row, if any."""
        rows = await self._prepared.fetch(statement, values)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*self._given_up, return_exceptions=True)
        await self._prepared.close()
        await self._engine.dispose()


def _prepare_sqlite(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # SQLAlchemy begins; the driver's own implicit BEGIN is deferred
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # A reader in AUTOCOMMIT begins nothing; a deferred transaction that later writes fails at once
    # whatever the time-out (R14).
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
