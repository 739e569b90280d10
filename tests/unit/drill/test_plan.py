"""The schedule and the load of a drill come from its seed alone, and leave nothing out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from neurogrid.drill.harm.plan import EVERYTHING, Family, Kind, schedule
from neurogrid.drill.work import FAIL, MAX_ATTEMPTS, MODELS, SLEEP, draw


def test_a_seed_repeats_a_drill() -> None:
    """The same seed draws the same misfortunes and the same work; another one does not."""
    assert list(schedule(7, 120)) == list(schedule(7, 120))
    assert list(schedule(7, 120)) != list(schedule(8, 120))
    assert [draw(7, number) for number in range(50)] == [draw(7, number) for number in range(50)]
    assert draw(7, 1) != draw(8, 1)


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
    """Models, streams, waits and cancels all occur; whatever fails is sure of the outcome it is drawn with."""
    works = [draw(1, number) for number in range(2000)]
    assert {work.model for work in works} == set(MODELS)
    assert {transport for work in works for transport in work.followers} == {"sse", "websocket"}
    assert any(work.wait for work in works)
    assert any(work.cancel_after is not None for work in works)
    for work in works:
        if work.model == FAIL and work.input["times"] is not None:
            assert work.input["retryable"]
            assert work.input["times"] < MAX_ATTEMPTS
        if work.followers:
            assert work.model == SLEEP
            assert work.text is not None
            assert work.text.split() == [str(chunk) for chunk in range(1, work.input["chunks"] + 1)]
