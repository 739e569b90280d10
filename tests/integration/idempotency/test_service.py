"""Once, whatever is cut off (R19)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.core.db import Database
from neurogrid.core.ids import new_id
from neurogrid.idempotency.policy import IdempotencyConflict
from neurogrid.idempotency.service import Answer, Idempotency, Keyed
from neurogrid.queue.keys import SpentKeys

pytestmark = pytest.mark.asyncio

EXPIRE = text("UPDATE idempotent_responses SET expires_at = '2020-01-01 00:00:00.000000'")


class Cut(Exception):
    """The process ended here."""


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database of one process, with a table to make things in."""
    database = Database(database_url)
    await run(database, "CREATE TABLE things (id TEXT PRIMARY KEY)")
    yield database
    await database.close()


async def run(database: Database, statement: str) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(text(statement))


async def things(database: Database) -> int:
    row = await database.first(text("SELECT count(*) AS n FROM things"))
    return int(row["n"]) if row else 0


async def make(transaction: AsyncSession) -> Answer:
    """Make a thing, and say which."""
    thing = new_id()
    await transaction.execute(text("INSERT INTO things VALUES (:thing)"), {"thing": thing})
    return Answer(201, thing.encode(), {"Location": f"/things/{thing}"})


OWNER = new_id()


def keyed(key: str = "k", **given: Any) -> Keyed:
    return Keyed(**{"owner": OWNER, "path": "/things", "key": key, "body_hash": "h", **given})


async def test_the_answer_is_that_of_then(database: Database) -> None:
    """Status, body and headers come again, marked as such; another body, path and owner are other requests."""
    service = Idempotency(database)
    first = await service.once(keyed(), make)
    again = await service.once(keyed(), make)
    assert again == Answer(first.status, first.body, first.headers, replayed=True)
    with pytest.raises(IdempotencyConflict):
        await service.once(keyed(body_hash="other"), make)
    for other in (keyed("other"), keyed(path="/other"), keyed(owner=new_id())):
        assert (await service.once(other, make)).body != first.body
    assert await things(database) == 4
    await service.once(None, make)
    assert await things(database) == 5


async def test_gateways_do_not_outrun_each_other(database: Database) -> None:
    """Requests with one key that come in the same moment to several processes make one thing."""
    services = [Idempotency(database) for _ in range(4)]
    answers = await asyncio.gather(*(services[i % 4].once(keyed(), make) for i in range(40)))
    assert len({answer.body for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert await things(database) == 1


async def test_there_is_both_or_neither(database: Database) -> None:
    """Cut off before the commit, neither the thing nor its key is there: the next request makes it."""
    service = Idempotency(database)

    async def cut(transaction: AsyncSession) -> Answer:
        await make(transaction)
        raise Cut

    with pytest.raises(Cut):
        await service.once(keyed(), cut)
    assert await things(database) == 0
    assert not (await service.once(keyed(), make)).replayed
    assert await things(database) == 1


async def test_a_key_ends_after_a_day(database: Database) -> None:
    """An expired key is free, for another body too; what it stood for is forgotten."""
    service = Idempotency(database)
    first = await service.once(keyed(), make)
    async with database.transaction() as transaction:
        await transaction.execute(EXPIRE)
    second = await service.once(keyed(body_hash="other"), make)
    assert (second.replayed, second.body == first.body) == (False, False)
    await service.once(keyed("fresh"), make)
    async with database.transaction() as transaction:
        await transaction.execute(text(EXPIRE.text + " WHERE body_hash = 'other'"))
    await service.forget()
    left = await database.all(text("SELECT body_hash FROM idempotent_responses"))
    assert [row["body_hash"] for row in left] == ["h"]


async def test_spent_keys_of_tasks_are_forgotten(database: Database) -> None:
    """Keys that stood for tasks go after their day, those that still stand stay."""
    for key, expires in (("old", "2020-01-01 00:00:00.000000"), ("new", "2100-01-01 00:00:00.000000")):
        await run(
            database,
            "INSERT INTO idempotency_keys (owner_id, key, body_hash, task_id, expires_at)"
            f" VALUES ('{OWNER}', '{key}', 'h', '{new_id()}', '{expires}')",
        )
    await SpentKeys(database).forget()
    left = await database.all(text("SELECT key FROM idempotency_keys"))
    assert [row["key"] for row in left] == ["new"]


async def test_work_that_was_cut_off_is_done_again_under_its_name(database: Database) -> None:
    """Work of many transactions hears the same name each time until it is answered, and is not done after."""
    service, names = Idempotency(database), []

    async def work(name: str) -> Answer:
        names.append(name)
        if len(names) == 1:
            raise Cut
        return Answer(200, b"done")

    with pytest.raises(Cut):
        await service.repeatable(keyed(), work)
    with pytest.raises(IdempotencyConflict):
        await service.repeatable(keyed(body_hash="other"), work)
    assert await service.repeatable(keyed(), work) == Answer(200, b"done")
    assert await service.repeatable(keyed(), work) == Answer(200, b"done", replayed=True)
    assert names == names[:1] * 2


async def test_the_first_answer_to_work_stays(database: Database) -> None:
    """Two processes that work on one request at once give one answer: that of whoever was done first."""
    both, count = asyncio.Barrier(2), iter(range(2))

    async def work(_: str) -> Answer:
        answer = Answer(200, b"%d" % next(count))
        await both.wait()
        return answer

    answers = await asyncio.gather(*(Idempotency(database).repeatable(keyed(), work) for _ in range(2)))
    assert len({answer.body for answer in answers}) == 1
