"""Values no column takes: each fails its own caller, and nobody else (R9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from neurogrid.core.db import Database
from neurogrid.core.settings import JournalSettings
from neurogrid.protocol.messages import Usage
from neurogrid.queue.build import make_journal
from neurogrid.queue.journal import Journal, RowRefused
from neurogrid.queue.ops import Finish, Insert, Op, Renew
from neurogrid.queue.outputs import OutputStore
from neurogrid.queue.policy import Status
from neurogrid.queue.writer import RowRejected
from tests.support.queue import insertion
from tests.support.truth import Truth
from tests.support.until import PATIENCE

pytestmark = pytest.mark.asyncio

LONE_SURROGATE = insertion(input='"\ud800"')
TOO_MANY_TOKENS = Usage(prompt_tokens=2**70)


@pytest_asyncio.fixture
async def journal(database_url: str) -> AsyncIterator[Journal]:
    """A journal on the test's database."""
    database = Database(database_url)
    opened = make_journal(database, JournalSettings(max_wait=PATIENCE))
    await opened.start()
    yield opened
    await opened.close()
    await database.close()


async def test_a_bad_row_is_rejected_and_nothing_written(truth: Truth) -> None:
    """R9: the writer says that a row is bad, rolls back the whole batch, and is good for the next."""
    good = insertion()
    with pytest.raises(RowRejected):
        await truth.do(good, LONE_SURROGATE)
    assert await truth.history(good.id) == []
    assert (await truth.one(good)).status is Status.QUEUED


async def test_nul_is_rejected(postgres: Truth) -> None:
    """R9: PostgreSQL takes no NUL in a text; the batch is rolled back and can be bisected."""
    with pytest.raises(RowRejected):
        await postgres.do(insertion(), insertion(input='"\0"'))


async def test_a_value_the_index_cannot_hold_is_rejected(postgres: Truth) -> None:
    """R9: a row that no page holds is that row's fault, not the server's: it must not be repeated for ever."""
    with pytest.raises(RowRejected):
        await postgres.one(insertion(lane="".join(chr(0x4E00 + i) for i in range(20_000))))


async def test_one_bad_row_of_many(journal: Journal, truth: Truth) -> None:
    """R9: of 64 rows written together with a bad one, 63 are kept."""
    ops = [insertion() for _ in range(64)]
    ops[40] = replace(LONE_SURROGATE, id=ops[40].id)
    session = await truth.session()
    others: list[Op] = [Renew(session, 60)]
    outcomes = await asyncio.gather(
        *(_outcome(journal, op) for op in [*ops, *others]), return_exceptions=True
    )
    bad = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, RowRefused)]
    assert bad == [40]
    for index, op in enumerate(ops):
        assert (await truth.history(op.id) == [("0-1", "task.queued")]) == (index != 40)


async def _outcome(journal: Journal, op: Op) -> object:
    if isinstance(op, Insert):
        return await journal.execute(op)
    assert isinstance(op, Renew)
    return await journal.execute(op)


async def test_figures_out_of_range_are_refused(journal: Journal, truth: Truth) -> None:
    """R9: what a node counts may not fit a column; its result is refused, and others are not held up."""
    session = await truth.session()
    task = await truth.running(session)
    bad = Finish(task.task, 1, Status.COMPLETED, 2, "1", usage=TOO_MANY_TOKENS)
    with pytest.raises(RowRefused):
        await journal.execute(bad, patient=True)
    assert await journal.execute(replace(bad, usage=Usage()), patient=True) is not None


async def test_large_outputs_go_apart(truth: Truth) -> None:
    """R12: an output above the bound lies in a row of its own, once, however often it is presented."""
    task = await truth.running(await truth.session())
    outputs = OutputStore(truth.database, inline=10, most=100)
    assert not await outputs.put_apart(task.task, 1, "x" * 10)
    assert await outputs.put_apart(task.task, 1, "x" * 11)
    assert await outputs.put_apart(task.task, 1, "x" * 11)
    op = Finish(task.task, 1, Status.COMPLETED, 2, output_apart=True)
    assert await truth.one(op) is not None
    row = await truth.task(task.task)
    assert (row["output"], row["output_apart"]) == (None, True)
