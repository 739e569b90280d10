"""The three ways of counting, in this process and in Redis, against a model that keeps every request (LIM-3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import Any, Protocol

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurogrid.core.settings_limits import Algorithm
from neurogrid.limits.batch import MEND_DIGEST, Batch, mending
from neurogrid.limits.memory import GridLimiter, MemoryEngine
from neurogrid.limits.script import MEND, TAKE
from neurogrid.limits.shares import Mend
from neurogrid.limits.windows import REFUSED, Answer, Take, Window, stand

BEGIN = 1_800_000_012_345
"""ms; no period begins at it."""


class Engine(Protocol):
    def take(self, takes: Sequence[Take], now: int) -> Answer: ...

    def add(self, owner: str, window: Window, at: int, cost: int, now: int) -> None: ...


class Scripts:
    """The scripts of Redis, told the time."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._take, self._mend = client.register_script(TAKE), client.register_script(MEND)

    def take(self, takes: Sequence[Take], now: int) -> Answer:
        batch = Batch([takes], now)
        results = [self._run(call.digest, call.owner, call.arguments) for call in batch.calls()]
        ((answer, undo),) = batch.answers(results)
        for owner, window, at, cost in undo:
            self.add(owner, window, at, -cost, now)
        return answer

    def add(self, owner: str, window: Window, at: int, cost: int, now: int) -> None:
        for call in mending([Mend(owner, window, at, 0, cost)], now):
            self._run(call.digest, call.owner, call.arguments)

    def _run(self, digest: str, owner: str, arguments: list[Any]) -> list[int]:
        script = self._mend if digest == MEND_DIGEST else self._take
        found: list[int] = script(keys=[f"{self._prefix}limit:{{{owner}}}"], args=arguments)
        return found


class Model:
    """Keeps every grant, and works with exact fractions."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.grants: list[tuple[int, int]] = []

    def left(self, now: int) -> int:
        amount, period = self.window.amount, self.window.period
        of = now // period
        current = sum(cost for at, cost in self.grants if at // period == of)
        if self.window.algorithm is Algorithm.FIXED_WINDOW:
            return amount - current
        if self.window.algorithm is Algorithm.SLIDING_WINDOW:
            before = sum(cost for at, cost in self.grants if at // period == of - 1)
            return amount - current - ceil(Fraction(before * (period - now % period), period))
        owed, last = Fraction(0), 0
        for at, cost in self.grants:
            owed = max(Fraction(0), owed - Fraction((at - last) * amount, period)) + cost
            last = at
        return amount - ceil(max(Fraction(0), owed - Fraction((now - last) * amount, period)))

    def take(self, cost: int, now: int) -> bool:
        granted = self.left(now) >= cost
        if granted:
            self.grants.append((now, cost))
        return granted


MakeEngine = Callable[[], Engine]


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Iterator[MakeEngine]:
    """Makes engines that know of nothing yet."""
    if request.param == "memory":
        yield lambda: MemoryEngine(GridLimiter().storage)
        return
    prefix = request.getfixturevalue("redis_prefix")
    made = 0
    with redis.Redis.from_url(request.getfixturevalue("redis_url")) as client:

        def begin() -> Engine:
            nonlocal made
            made += 1
            return Scripts(client, f"{prefix}{made}:")

        yield begin


steps = st.lists(
    st.tuples(st.sampled_from([0, 1, 999, 1000, 2500, 7001, 30_000, 59_999, 60_000, 61_000, 150_000]), st.integers(1, 6)),
    max_size=25,
)  # fmt: skip
algorithms = pytest.mark.parametrize("algorithm", list(Algorithm))
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@algorithms
@quick
@given(steps=steps, amount=st.integers(1, 12))
def test_grants_are_those_of_the_model(
    make: MakeEngine, algorithm: Algorithm, steps: list[tuple[int, int]], amount: int
) -> None:
    """Whatever is asked for whenever, an engine grants what the model grants, and says how much is left."""
    engine, window = make(), Window("requests", amount, 60, algorithm)
    model, now = Model(window), BEGIN
    for pause, wanted in steps:
        now += pause
        cost = min(wanted, amount)
        expected = model.take(cost, now)
        answer = engine.take([Take("u:ada", window, cost)], now)
        assert (answer.granted != REFUSED) is expected
        assert stand(window, answer.states[0], now, 1).left == max(0, model.left(now))


@algorithms
@quick
@given(steps=steps, amount=st.integers(1, 12))
def test_who_waits_as_told_is_granted_and_not_before(
    make: MakeEngine, algorithm: Algorithm, steps: list[tuple[int, int]], amount: int
) -> None:
    """`Retry-After` is true to the ms: at that moment the request is granted, 1 ms before it is not."""
    engine, window, now = make(), Window("requests", amount, 60, algorithm), BEGIN
    for pause, wanted in steps:
        now += pause
        cost = min(wanted, amount)
        answer = engine.take([Take("u:ada", window, cost)], now)
        if answer.granted == REFUSED:
            wait = stand(window, answer.states[0], now, cost).wait
            assert wait > 0
            assert engine.take([Take("u:ada", window, cost)], now + wait - 1).granted == REFUSED
            assert engine.take([Take("u:ada", window, cost)], now + wait).granted != REFUSED
            return


@algorithms
def test_all_windows_or_none(make: MakeEngine, algorithm: Algorithm) -> None:
    """A request that one window refuses takes nothing from the others, not even from another owner's."""
    engine = make()
    wide, narrow = Window("requests", 10, 3600, algorithm), Window("tasks", 1, 3600, algorithm)
    crowd = Window("address", 10, 60, algorithm)
    takes = [Take("u:ada", wide), Take("u:ada", narrow), Take("a:here", crowd)]
    assert engine.take(takes, BEGIN).granted != REFUSED
    for _ in range(5):
        assert engine.take(takes, BEGIN).granted == REFUSED
    answer = engine.take([Take("u:ada", wide), Take("a:here", crowd)], BEGIN)
    assert [
        stand(each, state, BEGIN, 1).left for each, state in zip((wide, crowd), answer.states, strict=True)
    ] == [8, 8]


@algorithms
def test_a_part_will_do(make: MakeEngine, algorithm: Algorithm) -> None:
    """Rows of a bulk are granted as far as the narrowest of their windows reaches; then none is."""
    engine = make()
    hour, day = Window("tasks", 10, 3600, algorithm), Window("tasks", 7, 86400, algorithm)
    takes = [Take("u:ada", hour, 15, part=True), Take("u:ada", day, 15, part=True)]
    assert engine.take(takes[:1], BEGIN).granted == 10
    assert engine.take(takes[:1], BEGIN).granted == REFUSED
    assert engine.take([take._replace(owner="u:eve") for take in takes], BEGIN).granted == 7


@algorithms
def test_what_was_not_needed_is_given_back(make: MakeEngine, algorithm: Algorithm) -> None:
    """What is given back can be had again, and never more than was taken."""
    engine, window = make(), Window("tokens", 10, 60, algorithm)
    taken = engine.take([Take("u:ada", window, 10)], BEGIN)
    engine.add("u:ada", window, taken.states[0].at, -4, BEGIN)
    assert engine.take([Take("u:ada", window, 5)], BEGIN).granted == REFUSED
    assert engine.take([Take("u:ada", window, 4)], BEGIN).granted != REFUSED
    engine.add("u:ada", window, taken.states[0].at, -1000, BEGIN)
    assert engine.take([Take("u:ada", window, 10)], BEGIN).granted != REFUSED
    assert engine.take([Take("u:ada", window, 1)], BEGIN).granted == REFUSED


@algorithms
def test_more_than_was_reserved_counts(make: MakeEngine, algorithm: Algorithm) -> None:
    """What went beyond a limit afterwards counts, and is waited for."""
    engine, window = make(), Window("tokens", 10, 60, algorithm)
    taken = engine.take([Take("u:ada", window, 1)], BEGIN)
    engine.add("u:ada", window, taken.states[0].at, 14, BEGIN)
    answer = engine.take([Take("u:ada", window, 1)], BEGIN)
    assert answer.granted == REFUSED
    assert stand(window, answer.states[0], BEGIN, 1).left == 0


def test_the_clock_may_go_back_a_little(make: MakeEngine) -> None:
    """A clock that is set back within a period frees nothing."""
    for algorithm in Algorithm:
        engine, window = make(), Window("requests", 2, 60, algorithm)
        assert engine.take([Take("u:ada", window, 2)], BEGIN).granted != REFUSED
        assert engine.take([Take("u:ada", window)], BEGIN - 5).granted == REFUSED
