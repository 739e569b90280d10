"""The clients of the drill remember what they were told, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from neurogrid.client.asynchronous import AsyncClient
from neurogrid.drill.bulk import BulkClient
from neurogrid.drill.load import Load
from neurogrid.drill.records import Submission
from neurogrid.drill.streams import Followers
from neurogrid.drill.work import ECHO, Leave, Work

pytestmark = pytest.mark.asyncio
Answer = Callable[[httpx.Request], httpx.Response]
CHOOSE = random.Random(1)
URL = "http://gateway"


def problem(status: int, code: str) -> dict[str, Any]:
    return {"status": status, "code": code, "detail": "no"}


def answering(*answers: tuple[int, dict[str, Any]] | Exception) -> Answer:
    """One answer after the other; the last one for ever."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        given = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(given, Exception):
            raise given
        return httpx.Response(given[0], json=given[1])

    return answer


def load_of(answer: Answer) -> Load:
    transport = httpx.MockTransport(answer)
    http = httpx.AsyncClient(transport=transport)
    clients = [AsyncClient(URL, "key", retries=0, http_transport=transport)]
    return Load(1, clients, BulkClient([URL], http, "key"), Followers([URL], http, "key"), 1000.0)


def task(id: str, status: str = "queued") -> tuple[int, dict[str, Any]]:
    return 200, {"id": id, "status": status, "model": ECHO, "attempt": 1}


async def test_each_row_of_a_bulk_is_told_by_itself() -> None:
    """Accepted, refused for good, and unknown where the gateway cannot tell."""
    rows = [
        {"status": "accepted", "task": {"id": "t"}},
        {"status": "refused", "error": problem(422, "invalid")},
        {"status": "refused", "error": problem(503, "outcome_unknown")},
    ]
    given = [Submission(Work(number, ECHO, "x", "low")) for number in range(3)]
    await load_of(answering((200, {"data": rows})))._bulk.submit(given, CHOOSE)
    assert [(one.task, bool(one.refused), bool(one.unknown)) for one in given] == [
        ("t", False, False),
        (None, True, False),
        (None, False, True),
    ]


@pytest.mark.parametrize(
    ("answer", "refused"),
    [((422, {}), True), ((503, {}), False), (httpx.ReadTimeout("late"), False)],
    ids=["refused", "unavailable", "lost"],
)
async def test_a_bulk_is_told_as_a_whole(answer: Any, *, refused: bool) -> None:
    """Without an answer, any of its tasks may be accepted; refused as a whole, none."""
    given = [Submission(Work(number, ECHO, "x", "low")) for number in range(2)]
    await load_of(answering(answer))._bulk.submit(given, CHOOSE)
    assert all(one.task is None for one in given)
    assert [(bool(one.refused), bool(one.unknown)) for one in given] == [(refused, not refused)] * 2


@pytest.mark.parametrize("keyed", [False, True])
async def test_who_left_may_ask_again(*, keyed: bool) -> None:
    """A client that hung up knows nothing, unless it has a key to ask again by, and then waits no more."""
    waits: list[bool] = []
    never = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        waits.append("prefer" in request.headers)
        if waits[-1]:
            await never.wait()
        return httpx.Response(202, json=task("t")[1])

    load = load_of(answer)  # type: ignore[arg-type]
    work = Work(1, ECHO, "x", "low", wait=8, keyed=keyed, leave=Leave(0.01, "cancel"))
    given = Submission(work)
    await load._submit(given, CHOOSE)
    assert given.left
    assert waits == ([True, False] if keyed else [True])
    assert (given.task, given.unknown is None) == (("t", True) if keyed else (None, False))


@pytest.mark.parametrize(
    ("answers", "told", "unknown", "denied"),
    [
        ([task("t", "completed")], 0, 0, 0),
        ([task("t", "failed"), task("t")], 1, 0, 0),
        ([task("t", "failed"), (409, problem(409, "conflict"))], 0, 0, 1),
        ([task("t", "failed"), (503, problem(503, "x")), task("t", "completed")], 0, 1, 0),
        (
            [
                task("t", "failed"),
                (503, problem(503, "x")),
                task("t", "failed"),
                (409, problem(409, "conflict")),
            ],
            0,
            1,
            0,
        ),
    ],
    ids=["no dead letter", "again", "denied", "unknown", "unknown and done"],
)
async def test_what_came_of_a_replay(answers: list[Any], told: int, unknown: int, denied: int) -> None:
    """A dead letter is run again once; where the answer is lost, whether it was is left open."""
    given = Submission(Work(1, ECHO, "x", "low", replay=True), task="t")
    await load_of(answering(*answers))._replay(given, "t", CHOOSE)
    assert (given.replays, given.replays_unknown, len(given.denied)) == (told, unknown, denied)


@pytest.mark.parametrize(
    ("answer", "repeated", "denied"),
    [(task("u"), ["u"], 0), ((409, problem(409, "idempotency_conflict")), [], 1)],
    ids=["answered", "denied"],
)
async def test_what_came_of_a_repeat(answer: Any, repeated: list[str], denied: int) -> None:
    """The id is remembered, whichever it is; a refusal is held against the grid."""
    given = Submission(Work(1, ECHO, "x", "low", keyed=True, repeat_after=0.0), task="t")
    await load_of(answering(answer))._repeat(given, CHOOSE)
    assert (given.repeated, len(given.denied)) == (repeated, denied)
