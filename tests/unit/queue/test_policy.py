"""The state machine of a task and the rules of retry."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.queue.policy import (
    FINAL,
    LIVE,
    NEXT,
    Again,
    Charge,
    Charges,
    IllegalTransition,
    RetryPolicy,
    Status,
    advance,
    lane_of,
)

LEGAL = {
    ("queued", "running"), ("queued", "waiting"), ("queued", "failed"), ("queued", "canceled"),
    ("waiting", "queued"), ("waiting", "completed"), ("waiting", "failed"), ("waiting", "canceled"),
    ("running", "queued"), ("running", "waiting"), ("running", "completed"), ("running", "failed"),
    ("running", "canceled"),
    ("failed", "queued"), ("canceled", "queued"),
}  # fmt: skip
MOVES = [pytest.param(*pair, id="-".join(pair)) for pair in itertools.product(list(Status), repeat=2)]


@pytest.mark.parametrize(("now", "to"), MOVES)
def test_every_move_is_legal_or_refused(now: Status, to: Status) -> None:
    """The matrix of all moves: those of the design are made, every other is refused by name."""
    if (now.value, to.value) in LEGAL:
        assert advance(now, to) is to
    else:
        with pytest.raises(IllegalTransition, match=f"a {now} task cannot become {to}"):
            advance(now, to)


def test_every_status_is_live_or_final() -> None:
    """A task is either unfinished or finished, and only replay leads back from the end."""
    assert set(NEXT) == set(Status)
    assert set(Status) == LIVE | FINAL
    assert not LIVE & FINAL
    assert all(NEXT[status] <= {Status.QUEUED} for status in FINAL)


def test_hand_back_is_free() -> None:
    """R1: a hand-back charges nothing and never ends a task, whatever it has used up."""
    again = RetryPolicy().after(Charge.NONE, Charges(errors=99, losses=99, max_attempts=1))
    assert again == Again(Status.QUEUED, Charge.NONE)
    assert not again.dead


@pytest.mark.parametrize("losses", range(7))
def test_losses_have_a_limit_of_their_own(losses: int) -> None:
    """R1: a task that kills its nodes ends in the dead letters at the fifth loss, errors aside."""
    again = RetryPolicy(max_losses=5).after(Charge.LOSS, Charges(errors=0, losses=losses, max_attempts=1))
    assert again.dead == (losses + 1 >= 5)
    assert again.status is (Status.FAILED if again.dead else Status.QUEUED)
    assert (again.charge, again.delay) == (Charge.LOSS, 0.0)


@given(
    errors=st.integers(0, 120),
    losses=st.integers(0, 10),
    most=st.integers(1, 100),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_backoff_stays_within_its_bounds(errors: int, losses: int, most: int, jitter: float) -> None:
    """R1: an error costs one of ``max_attempts``; the delay doubles, with jitter, up to the longest."""
    policy = RetryPolicy(base=1.0, longest=300.0)
    again = policy.after(Charge.ERROR, Charges(errors, losses, most), jitter=jitter)
    assert again.charge is Charge.ERROR
    if errors + 1 >= most:
        assert again == Again(Status.FAILED, Charge.ERROR)
        assert again.dead
    else:
        whole = min(2.0**errors, 300.0)
        assert again.status is Status.WAITING
        assert whole / 2 <= again.delay <= whole


@given(errors=st.integers(0, 5), left=st.floats(-1e6, 1e6), jitter=st.floats(0, 1, exclude_max=True))
def test_no_attempt_begins_after_the_deadline(errors: int, left: float, jitter: float) -> None:
    """An error whose backoff would end after the deadline is final at once; it is late, not a dead letter."""
    policy = RetryPolicy(base=1.0, longest=300.0)
    again = policy.after(Charge.ERROR, Charges(errors, 0, 9), left=left, jitter=jitter)
    unbounded = policy.after(Charge.ERROR, Charges(errors, 0, 9), jitter=jitter)
    if left <= unbounded.delay:
        assert again == Again(Status.FAILED, Charge.ERROR, late=True)
        assert not again.dead
    else:
        assert again == unbounded


def test_the_deadline_is_asked_first() -> None:
    """The last attempt of a task, stopped by its deadline, was too late rather than used up."""
    policy = RetryPolicy()
    assert policy.after(Charge.ERROR, Charges(2, 0, 3), left=-0.1).late
    assert policy.after(Charge.ERROR, Charges(2, 0, 3), left=60.0).dead
    assert policy.after(Charge.LOSS, Charges(0, 0, 3), left=-1.0).status is Status.QUEUED


def test_backoff_is_random() -> None:
    """Tasks that failed together do not come back together."""
    delays = {RetryPolicy().after(Charge.ERROR, Charges(0, 0, 3)).delay for _ in range(20)}
    assert len(delays) > 1


def test_lane_is_model_and_requirements() -> None:
    """R15: a lane is a model, plus the hash of what its tasks require of a node."""
    assert lane_of("m", None) == "m"
    assert lane_of("m", "abc") == "m#abc"
