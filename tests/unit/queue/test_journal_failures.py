"""The journal when the database misbehaves: nothing is lost, nobody hangs, one bad row fails alone."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from neurogrid.core.errors import OutcomeUnknown, Unavailable
from neurogrid.core.ids import new_id
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.journal import Journal, RowRefused
from neurogrid.queue.ops import Cancel, Renew
from neurogrid.queue.writer import ConnectionLost, RowRejected, Transient
from tests.support.queue import ScriptedWriter, accepts, begin, insertion, journal, occupied, some_session
from tests.support.virtual_time import run_in_virtual_time


def test_lost_commit_is_repeated_until_known() -> None:
    """R8: after a lost connection the same rows are written again, said to be repeated, until there is an answer."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            writer.failures.extend(
                [ConnectionLost("cut"), ConnectionLost("cut"), Transient("deadlock"), None]
            )
            op = insertion()
            assert await accepts(opened, op)
            assert opened.statistics.reconnects == 2
            assert [written.batch.inserts for written in writer.written] == [[op]] * 4
            assert [written.repeat for written in writer.written] == [False, True, True, True]
            assert await accepts(opened)
        assert not writer.written[-1].repeat

    run_in_virtual_time(main())


def test_what_is_called_unwritten_is_not_written() -> None:
    """R8, R12: a caller whose time is up in the moment the journal comes back is told what happens to its row."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, max_wait=5) as opened:
            await occupied(writer, opened)
            asyncio.get_running_loop().call_later(5 - 1e-10, writer.open.set)  # the same turn of the loop
            op = insertion()
            (late,) = await begin(opened, [op])
            with pytest.raises(Unavailable) as told:
                await late
            written = [each for batch in writer.written for each in batch.ops]
            assert (op in written) == isinstance(told.value, OutcomeUnknown)

    run_in_virtual_time(main())


def test_transient_errors_repeat_the_whole_batch() -> None:
    """R9: after a deadlock or lock time-out the same batch comes again, and no row fails. A part may be committed
    (R20), so rows are looked up.
    """

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            await occupied(writer, opened)
            callers = await begin(opened, [insertion() for _ in range(5)])
            writer.failures.extend([None, Transient("40P01"), Transient("55P03")])
            writer.open.set()
            assert await asyncio.gather(*callers) == [True] * 5
        assert [len(written.ops) for written in writer.written] == [1, 5, 5, 5]
        assert [written.repeat for written in writer.written] == [False, False, True, True]
        assert opened.statistics.reconnects == 0

    run_in_virtual_time(main())


def test_database_away_answers_within_the_wait() -> None:
    """R8, R12: submissions get 503 within ``max_wait``; the one in a transaction is told that nobody knows."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, max_wait=5) as opened:
            under_way = await occupied(writer, opened)
            cancel_under_way = None
            writer.failures.append(ConnectionLost("cut"))
            writer.away = True
            writer.open.set()
            waiting, cancel_under_way = await begin(opened, [insertion(), Cancel(new_id())])
            started = asyncio.get_running_loop().time()
            with pytest.raises(OutcomeUnknown, match="was accepted is unknown") as unknown:
                await under_way
            assert unknown.value.code == "outcome_unknown"
            for caller in (waiting, cancel_under_way):
                with pytest.raises(Unavailable, match="Nothing was written") as refused:
                    await caller
                assert refused.value.code == "unavailable"
                assert int(refused.value.headers["Retry-After"]) > 0
            assert asyncio.get_running_loop().time() - started <= 5.01
            assert not opened.connected
            writer.away = False

    run_in_virtual_time(main())


def test_unknown_outcome_names_the_task() -> None:
    """R8: whoever does not know whether a task was accepted can look for it by its id."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            writer.open.clear()
            op = insertion()
            with pytest.raises(OutcomeUnknown, match=op.id):
                await opened.execute(op)
            with pytest.raises(Unavailable) as refused:
                await opened.execute(insertion())
            assert not isinstance(refused.value, OutcomeUnknown)

    run_in_virtual_time(main())


def test_patient_callers_outlast_an_outage() -> None:
    """Results and renewals wait as long as it takes, and are written when the database is back."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer, max_wait=5) as opened:
            writer.away = True
            writer.failures.append(ConnectionLost("cut"))
            callers = await begin(opened, [Renew(some_session(), 10), Cancel(new_id())], patient=True)
            await asyncio.sleep(600)
            assert not any(caller.done() for caller in callers)
            writer.away = False
            assert await asyncio.gather(*callers) == [True, True]
            assert opened.connected

    run_in_virtual_time(main())


@pytest.mark.parametrize("seed", range(5))
def test_bad_rows_fail_alone(seed: int) -> None:
    """R9: of a batch with bad rows among good ones every good one is written, every bad one fails its caller."""

    async def main() -> None:
        chance = random.Random(seed)
        bad = [chance.random() < 0.1 for _ in range(64)]
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            await occupied(writer, opened)
            ops = [insertion(input="poison" if is_bad else "1") for is_bad in bad]
            renewal, *callers = await begin(opened, [Renew(some_session(), 10), *ops])
            writer.open.set()
            outcomes = await asyncio.gather(*callers, return_exceptions=True)
            assert await renewal
        assert [isinstance(outcome, RowRefused) for outcome in outcomes] == bad
        assert [outcome is True for outcome in outcomes] == [not is_bad for is_bad in bad]

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    "error", [KeyError("no such column"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "lone")]
)
def test_unexpected_errors_do_not_end_the_journal(error: Exception) -> None:
    """Whatever a row does to the driver fails at most that row's caller; the writer goes on for ever."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            writer.failures.append(error)
            with pytest.raises(RowRefused):
                await opened.execute(insertion())
            assert await accepts(opened)
            await occupied(writer, opened)
            callers = await begin(opened, [insertion(), insertion()])
            writer.failures.extend([None, error, None, None])
            writer.open.set()
            assert await asyncio.gather(*callers) == [True, True]

    run_in_virtual_time(main())


def test_refused_row_of_a_caller_who_left_harms_nobody() -> None:
    """R9: a bad row may fail after its caller is gone."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            writer.open.clear()
            writer.under_way.clear()
            (gone,) = await begin(opened, [insertion(input="poison")])
            await writer.under_way.wait()
            gone.cancel()
            await asyncio.wait({gone})
            writer.open.set()
            assert await accepts(opened)

    run_in_virtual_time(main())


def test_start_says_that_the_database_is_away() -> None:
    """A gateway does not start without its database."""

    async def main() -> None:
        writer = ScriptedWriter()
        writer.away = True
        opened = Journal(writer, JournalSettings())
        with pytest.raises(ConnectionLost):
            await opened.start()
        await opened.close()
        assert writer.closed

    run_in_virtual_time(main())


def test_lost_batch_that_turns_out_bad_is_bisected() -> None:
    """R8, R9: a row may be refused only when the batch is repeated; it still fails alone."""

    async def main() -> None:
        writer = ScriptedWriter()
        async with journal(writer) as opened:
            await occupied(writer, opened)
            callers = await begin(opened, [insertion(), insertion(input="poison"), insertion()])
            writer.failures.extend([None, ConnectionLost("cut"), RowRejected("22P05")])
            writer.open.set()
            outcomes: list[Any] = await asyncio.gather(*callers, return_exceptions=True)
        assert [outcome is True for outcome in outcomes] == [True, False, True]
        assert isinstance(outcomes[1], RowRefused)

    run_in_virtual_time(main())
