"""Many rows of one caller: each fares as if it came by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from neurogrid.core.errors import OutcomeUnknown, Unavailable
from neurogrid.queue.journal import Journal, RowRefused
from neurogrid.queue.ops import Op, Renew
from tests.support.queue import ScriptedWriter, accepts, begin, insertion, journal, occupied, some_session
from tests.support.virtual_time import run_in_virtual_time


async def brought(opened: Journal, ops: Sequence[Op], *, patient: bool = False) -> asyncio.Task[list[Any]]:
    """Have all of ``ops`` wait in the journal for one caller."""
    many = asyncio.ensure_future(opened.execute_all(ops, patient=patient))
    await asyncio.sleep(0)
    return many


def test_each_row_has_its_own_answer() -> None:
    """R9: a row the database does not take is refused in its place; the others are written."""

    async def main() -> None:
        ops = [insertion(input="poison" if place in {2, 9} else "fine") for place in range(12)]
        async with journal(ScriptedWriter()) as opened:
            answers = await opened.execute_all(ops)
        refused = [place for place, answer in enumerate(answers) if isinstance(answer, RowRefused)]
        assert refused == [2, 9]
        assert [answer for answer in answers if not isinstance(answer, Exception)] == [True] * 10

    run_in_virtual_time(main())


def test_no_rows_are_answered_at_once() -> None:
    """An empty list waits for nothing."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            assert await opened.execute_all([]) == []
        assert writer.written == []

    run_in_virtual_time(main())


def test_many_keep_to_the_bounds_of_a_batch() -> None:
    """R12: they are cut into batches like any others, and what goes first still goes before their rest."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, batch_rows=4) as opened:
            await occupied(writer, opened)
            ops = [insertion() for _ in range(10)]
            many = await brought(opened, ops)
            (renewal,) = await begin(opened, [Renew(some_session(), 10)])
            writer.open.set()
            assert await many == [True] * 10
            assert await renewal
        assert [len(written.ops) for written in writer.written] == [1, 4, 4, 3]
        assert len(writer.written[1].batch.renews) == 1
        assert [op for written in writer.written[1:] for op in written.batch.inserts] == ops

    run_in_virtual_time(main())


def test_a_full_queue_refuses_the_rest() -> None:
    """R12: those there is no room for are refused in their places, the others are written."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, queue_rows=3) as opened:
            await occupied(writer, opened)
            many = await brought(opened, [insertion() for _ in range(5)])
            writer.open.set()
            answers = await many
            assert answers[:3] == [True] * 3
            assert [type(answer) for answer in answers[3:]] == [Unavailable] * 2

    run_in_virtual_time(main())


def test_late_rows_are_told_apart() -> None:
    """R8, R12: after ``max_wait`` what is written stays so, what is in a transaction is unknown, the rest is refused."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, batch_rows=2, max_wait=5) as opened:
            await occupied(writer, opened)
            many = await brought(opened, [insertion() for _ in range(6)])
            for _ in range(2):  # the commit under way, and the first of the many
                writer.under_way.clear()
                writer.open.set()
                writer.open.clear()
                await writer.under_way.wait()
            started = asyncio.get_running_loop().time()
            answers = await many
            assert asyncio.get_running_loop().time() - started == pytest.approx(5, abs=0.1)
            assert answers[:2] == [True] * 2
            assert [type(answer) for answer in answers[2:]] == [OutcomeUnknown] * 2 + [Unavailable] * 2
            writer.open.set()
            assert await accepts(opened)
        assert sum(len(written.batch.inserts) for written in writer.written) == 1 + 4 + 1

    run_in_virtual_time(main())


def test_an_abandoned_caller_leaves_the_queue_with_all_it_brought() -> None:
    """R12: rows whose caller is gone before their transaction are not written, and hold no room."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, queue_rows=3) as opened:
            await occupied(writer, opened)
            many = await brought(opened, [insertion() for _ in range(3)])
            many.cancel()
            await asyncio.wait({many})
            later = await begin(opened, [insertion(), insertion()])
            writer.open.set()
            assert all(await asyncio.gather(*later))
        assert [len(written.ops) for written in writer.written] == [1, 2]

    run_in_virtual_time(main())


def test_closing_answers_what_cannot_be_written() -> None:
    """A database that stays away keeps nobody: each of the many is told at the end."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, max_wait=5) as opened:
            await occupied(writer, opened)
            many = await brought(opened, [insertion() for _ in range(3)], patient=True)
            await opened.close()
            assert [type(answer) for answer in await many] == [Unavailable] * 3

    run_in_virtual_time(main())
