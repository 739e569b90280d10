"""The schedule and the load of a drill come from its seed alone, and leave nothing out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from neurogrid.drill.harm.plan import EVERYTHING, Family, Kind, schedule
from neurogrid.drill.work import FAIL, LARGEST_GROUP, MAX_ATTEMPTS, RECITE, SLEEP, draw, draw_group


def test_a_seed_repeats_a_drill() -> None:
    """The same seed draws the same misfortunes and the same work; another one does not."""
    assert list(schedule(7, 120)) == list(schedule(7, 120))
    assert list(schedule(7, 120)) != list(schedule(8, 120))
    assert [draw(7, number) for number in range(50)] == [draw(7, number) for number in range(50)]
    assert draw(7, 1) != draw(8, 1)
    assert [draw_group(7, number) for number in range(50)] == [draw_group(7, number) for number in range(50)]


def test_a_round_leaves_nothing_out() -> None:
    """The first round of the schedule holds every kind, as often as the deck says."""
    size = sum(EVERYTHING.values())
    first = [misfortune.kind for misfortune in schedule(1, 3600)][:size]
    assert Counter(first) == Counter(EVERYTHING)
    assert set(first) == set(Kind)


def test_misfortunes_stay_within_the_time_given() -> None:
    """They come one after the other, and none begins after the end."""
    planned = list(schedule(3, 180))
    assert all(one.at < other.at for one, other in pairwise(planned))
    assert planned[-1].at < 180
    assert sum(one.kind.family is not Family.CUT for one in planned) >= 30


def test_every_kind_of_work_is_drawn() -> None:
    """Models, streams, waits, cancels, repeats, replays and clients that leave; whatever fails is sure to."""
    works = [draw(1, number) for number in range(2000)]
    assert {work.model for work in works} == {"debug.echo", SLEEP, FAIL}
    assert {transport for work in works for transport in work.followers} == {"sse", "websocket"}
    assert any(work.wait for work in works)
    assert any(work.cancel_after is not None for work in works)
    for work in works:
        if work.model == FAIL and work.input["times"] is not None:
            assert work.input["retryable"]
            assert work.replay is (work.input["times"] >= MAX_ATTEMPTS)
            assert work.input["times"] <= 2 * MAX_ATTEMPTS
        if work.followers:
            assert work.model == SLEEP
            assert work.text is not None
            assert work.text.split() == [str(chunk) for chunk in range(1, work.input["chunks"] + 1)]


def test_clients_leave_in_every_way() -> None:
    """Waiting and reading, for both kinds of tasks; who leaves cancels nothing, and asks again only by key."""
    leaving = [work for work in (draw(1, number) for number in range(4000)) if work.leave is not None]
    ways = {(work.leave and work.leave.on_disconnect, work.wait is not None, work.keyed) for work in leaving}
    assert len(ways) == 8
    assert all(work.cancel_after is None and bool(work.wait) is not bool(work.followers) for work in leaving)
    assert {work.may_be_deserted for work in leaving} == {True, False}


def test_what_is_submitted_together() -> None:
    """Mostly one task alone; many in a request ask for nothing that only one can; twins ask for the same."""
    groups = [draw_group(1, first) for first in range(3000)]
    alone = [group for group in groups if len(group.works) == 1]
    bulks = [group.works for group in groups if group.bulk]
    twins = [group.works for group in groups if len(group.works) > 1 and not group.bulk]
    assert len(alone) > 2500
    assert min(len(bulks), len(twins)) > 50
    assert max(map(len, bulks + twins)) == LARGEST_GROUP
    assert not any(work.wait or work.keyed or work.leave for works in bulks for work in works)
    for works in twins:
        assert {work.model for work in works} == {RECITE}
        assert all(work.input == works[0].input for work in works)
        assert len({work.number for work in works}) == len(works)
        assert works[0].text == "".join(f"{word} " for word in range(1, works[0].input["words"] + 1))
    assert len({works[0].input["salt"] for works in twins}) == len(twins)
