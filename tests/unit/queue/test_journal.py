"""The group-commit journal: what goes into a batch, and who is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from neurogrid.core.errors import OutcomeUnknown, Unavailable
from neurogrid.core.ids import new_id
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Cancel, Evict, Finish, Insert, Op, Renew, Requeue, Want
from neurogrid.queue.policy import Charge, Status
from tests.support.queue import ScriptedWriter, accepts, begin, insertion, journal, occupied, some_session
from tests.support.virtual_time import run_in_virtual_time


def one_of_each() -> list[Op]:
    session = some_session()
    return [
        insertion(),
        Want("echo", session),
        Cancel(new_id()),
        Evict(session),
        Requeue(new_id(), 1, Status.QUEUED, Charge.NONE, "handed_back"),
        Finish(new_id(), 1, Status.COMPLETED, 2, "1"),
        Renew(session, 10),
    ]


def test_one_commit_takes_all_that_waits() -> None:
    """R8: what arrives while a commit is under way becomes the next one, whole, in the order of R12."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            first = await occupied(writer, opened)
            callers = await begin(opened, [*one_of_each(), *one_of_each()])
            writer.open.set()
            assert await asyncio.gather(first, *callers) == [True] * 15
        assert [len(written.ops) for written in writer.written] == [1, 14]
        kinds = [type(op) for op in writer.written[1].ops]
        order: list[type[Op]] = [Renew, Finish, Requeue, Evict, Cancel, Want, Insert]
        assert kinds == [kind for kind in order for _ in range(2)]
        assert opened.statistics.batches == 2
        assert opened.statistics.rows == 15

    run_in_virtual_time(main())


@pytest.mark.parametrize(("rows", "sizes"), [(4, [1, 4, 4, 2]), (10, [1, 10]), (512, [1, 10])])
def test_batch_has_a_most_of_rows(rows: int, sizes: list[int]) -> None:
    """R12: a batch has at most ``batch_rows`` rows, in the order of arrival."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, batch_rows=rows) as opened:
            await occupied(writer, opened)
            ops = [insertion() for _ in range(10)]
            callers = await begin(opened, ops)
            writer.open.set()
            await asyncio.gather(*callers)
        assert [len(written.ops) for written in writer.written] == sizes
        assert [op for written in writer.written[1:] for op in written.ops] == ops

    run_in_virtual_time(main())


def test_batch_has_a_most_of_bytes() -> None:
    """R12: a batch has at most ``batch_bytes`` bytes, unless a single row is larger than that."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, batch_bytes=10_000) as opened:
            await occupied(writer, opened)
            lengths = [3_000, 3_000, 3_000, 50_000, 3_000, 9_000]
            callers = await begin(opened, [insertion(input="x" * length) for length in lengths])
            writer.open.set()
            await asyncio.gather(*callers)
        written = [[len(op.input) for op in batch.batch.inserts] for batch in writer.written[1:]]
        assert written == [[3_000, 3_000, 3_000], [50_000], [3_000], [9_000]]
        assert all(batch.size <= 10_000 for batch in writer.written if len(batch.ops) > 1)

    run_in_virtual_time(main())


def test_renewals_do_not_wait_behind_bulk() -> None:
    """R12: a renewal that comes after a thousand submissions is in the very next commit."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            await occupied(writer, opened)
            bulk = await begin(opened, [insertion() for _ in range(1000)])
            (renewal,) = await begin(opened, [Renew(some_session(), 10)])
            writer.open.set()
            assert await renewal
            await asyncio.gather(*bulk)
        assert [len(written.batch.renews) for written in writer.written] == [0, 1, 0]
        assert [len(written.ops) for written in writer.written] == [1, 512, 489]

    run_in_virtual_time(main())


@pytest.mark.parametrize("settings", [{"queue_rows": 5}, {"queue_bytes": 5 * insertion().size}])
def test_full_queue_refuses_new_tasks_alone(settings: dict[str, Any]) -> None:
    """R12: past the bound of rows or bytes a submission gets 503 with Retry-After; the grid's own work goes on."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, **settings) as opened:
            await occupied(writer, opened)
            waiting = await begin(opened, [insertion() for _ in range(5)])
            with pytest.raises(Unavailable) as refused:
                await opened.execute(insertion())
            assert refused.value.status == 503
            assert int(refused.value.headers["Retry-After"]) > 0
            own = await begin(opened, [Renew(some_session(), 10), Cancel(new_id())])
            writer.open.set()
            assert await asyncio.gather(*waiting, *own) == [True] * 7
            assert await accepts(opened)

    run_in_virtual_time(main())


def test_long_expected_wait_refuses_new_tasks() -> None:
    """R12: a submission that would wait for more than a second is refused at once."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, batch_rows=1) as opened:
            opened._batch_seconds = 0.4
            await occupied(writer, opened)
            waiting = await begin(opened, [insertion() for _ in range(3)])
            with pytest.raises(Unavailable):
                await opened.execute(insertion())
            writer.open.set()
            await asyncio.gather(*waiting)

    run_in_virtual_time(main())


def test_abandoned_caller_leaves_the_queue() -> None:
    """R12: a row whose caller is gone before its transaction is not written, and holds no room."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, queue_rows=2) as opened:
            await occupied(writer, opened)
            gone, stays = await begin(opened, [insertion(), insertion()])
            gone.cancel()
            await asyncio.wait({gone})
            (late,) = await begin(opened, [insertion()])
            writer.open.set()
            assert all(await asyncio.gather(stays, late))
        assert [len(written.ops) for written in writer.written] == [1, 2]

    run_in_virtual_time(main())


def test_caller_cancelled_in_its_transaction_takes_nobody_along() -> None:
    """R12: a batch is shielded from its callers: what is under way is committed, the others are answered."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            first = await occupied(writer, opened)
            gone, stays = await begin(opened, [insertion(), insertion()])
            writer.open.set()
            writer.open.clear()
            writer.under_way.clear()
            await first
            await writer.under_way.wait()
            gone.cancel()
            await asyncio.wait({gone})
            writer.open.set()
            assert await stays
        assert [len(written.ops) for written in writer.written] == [1, 2]

    run_in_virtual_time(main())


def test_close_writes_what_waits_and_takes_nothing_new() -> None:
    """A graceful shutdown commits what was accepted; who comes later is sent to another gateway."""

    async def main() -> None:
        writer = ScriptedWriter()
        opened = Journal(writer, JournalSettings())
        await opened.start()
        await occupied(writer, opened)
        callers = await begin(opened, [insertion(), Renew(some_session(), 10)])
        closing = asyncio.ensure_future(opened.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await opened.execute(Renew(some_session(), 10), patient=True)
        writer.open.set()
        await closing
        assert await asyncio.gather(*callers) == [True, True]
        assert writer.closed

    run_in_virtual_time(main())


def test_close_lets_nobody_wait_for_a_dead_database() -> None:
    """Shutdown ends: whoever still waits is told whether their row may have been written."""

    async def main() -> None:
        writer = ScriptedWriter()
        opened = Journal(writer, JournalSettings(max_wait=5))
        await opened.start()
        under_way = await occupied(writer, opened)
        waiting = await begin(opened, [Renew(some_session(), 10)], patient=True)
        await opened.close()
        with pytest.raises(OutcomeUnknown):
            await under_way
        with pytest.raises(Unavailable):
            await waiting[0]

    run_in_virtual_time(main())
