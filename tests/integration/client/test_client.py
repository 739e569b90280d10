"""The client's promises, kept by its synchronous and its asynchronous form over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson
import pytest

from neurogrid.client import (
    ApiError,
    AsyncClient,
    Client,
    ConnectionFailed,
    FieldProblem,
    TextFold,
    WaitTimeout,
)
from tests.integration.client.stand_in import (
    IDS,
    STORY,
    TASK,
    StandIn,
    event,
    events,
    json,
    problem,
    resumable,
    task_json,
)
from tests.support.processes import free_port

EVENTS = f"GET /v1/tasks/{TASK}/events"


class Blocking:
    """``AsyncClient`` behind ``Client``'s face, so that one suite holds both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = asyncio.Runner()
        self._client = AsyncClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._iterate(result) if hasattr(result, "__aiter__") else self._loop.run(result)

        return call

    def _iterate(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(source, None)

        while (item := self._loop.run(following())) is not None:
            yield item

    def close(self) -> None:
        self._loop.run(self._client.aclose())
        self._loop.close()


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make clients of either form."""
    made: list[Any] = []

    def make(*args: Any, **kwargs: Any) -> Any:
        made.append(request.param(*args, **kwargs))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_submit_sends_what_was_given_and_reads_the_task(
    gateway: StandIn, connect: Callable[..., Any]
) -> None:
    """A task is submitted with the fields given and no others, with the key, and comes back typed."""
    gateway.answer("POST /v1/tasks", json(task_json(status="queued", output=None, usage=None), 202))
    task = connect(gateway.url, "ng_key").submit("hi", "debug.echo", {"n": 1}, metadata={"a": "b"})

    _, headers, body = gateway.requests[0]
    assert orjson.loads(body) == {
        "input": "hi",
        "model": "debug.echo",
        "parameters": {"n": 1},
        "metadata": {"a": "b"},
    }
    assert headers["authorization"] == "Bearer ng_key"
    assert (task.id, task.status, task.finished, task.output) == (TASK, "queued", False, None)
    assert task.usage.total_tokens == 0


def test_waiting_submission_asks_the_gateway_to_wait(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """``wait`` becomes ``Prefer: wait=N`` and the answer is the finished task."""
    gateway.answer("POST /v1/tasks", json(task_json()))
    task = connect(gateway.url).submit("hi", wait=20)
    assert gateway.requests[0][1]["prefer"] == "wait=20"
    assert (task.text, task.usage.total_tokens, task.created_at.year) == ("abc", 5, 2026)


def test_refusals_are_typed(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """A refusal carries status, code, detail, request id and the fields that are wrong; it is not repeated."""
    gateway.answer("POST /v1/tasks", problem(422, "invalid", "input: wrong"))
    with pytest.raises(ApiError) as refused:
        connect(gateway.url).submit(1)
    error = refused.value
    assert (error.status, error.code, error.detail, error.request_id) == (
        422,
        "invalid",
        "input: wrong",
        "r-1",
    )
    assert error.errors == (FieldProblem("input", "wrong"),)
    assert len(gateway.requests) == 1


def test_busy_gateway_is_asked_again(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """429 and 503 are asked again, a submission too, because nothing was done."""
    gateway.answer(
        "POST /v1/tasks",
        problem(503, "unavailable", "busy", Retry_After="0"),
        problem(429, "too_many_tasks", "slow down", Retry_After="0"),
        json(task_json(), 202),
    )
    assert connect(gateway.url).submit("hi").id == TASK
    assert len(gateway.requests) == 3


def test_unknown_outcome_is_not_repeated(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """A submission whose outcome is unknown is not sent again without an idempotency key (R8)."""
    gateway.answer("POST /v1/tasks", problem(503, "outcome_unknown", "?"), json(task_json(), 202))
    client = connect(gateway.url)
    with pytest.raises(ApiError, match="outcome_unknown"):
        client.submit("hi")
    gateway.answer("POST /v1/tasks", problem(503, "outcome_unknown", "?"), json(task_json(), 202))
    assert client.submit("hi", idempotency_key="k").id == TASK
    assert gateway.requests[-1][1]["idempotency-key"] == "k"


def test_gives_up_on_a_gateway_that_is_not_there(connect: Callable[..., Any]) -> None:
    """Nobody listening is an error that names the address, not a hang."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionFailed, match=url):
        connect(url, retries=1).models()


def test_something_else_is_no_gateway(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """A page of some other server is not taken for an answer."""
    gateway.answer("GET /v1/models", lambda request: events(b"<html>")(request))
    with pytest.raises(ApiError, match="not a NeuroGrid gateway"):
        connect(gateway.url).models()


def test_list_goes_through_all_pages(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """A list is followed by its cursor to its end, or to the limit."""
    first = {"data": [task_json(id="a"), task_json(id="b")], "next_cursor": "c1"}
    second = {"data": [task_json(id="c")], "next_cursor": None}

    def page(request: Any) -> Any:
        return json(second if request.query_params.get("cursor") == "c1" else first)(request)

    gateway.answer("GET /v1/tasks", page)
    client = connect(gateway.url)
    assert [task.id for task in client.tasks(status="completed")] == ["a", "b", "c"]
    assert [task.id for task in client.tasks(limit=2)] == ["a", "b"]


def test_stream_brings_every_event_once(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """An unbroken stream is told in order; comments between the events are heartbeats."""
    gateway.answer(EVENTS, events(b": hello\n\n", *STORY[:3], b":\n\n", *STORY[3:]))
    fold = TextFold()
    seen = list(connect(gateway.url).stream(TASK))
    for each in seen:
        fold.add(each)
    assert [str(each.id) for each in seen] == IDS
    assert fold.text == "abéc"
    assert seen[-1].final


@pytest.mark.parametrize("cut", [0, 1, 57, 160, 299, 420, 600])
@pytest.mark.parametrize("hard", [True, False], ids=["broken", "ended"])
def test_cut_stream_goes_on_without_gap_or_repeat(
    gateway: StandIn, connect: Callable[..., Any], *, cut: int, hard: bool
) -> None:
    """Wherever a stream is cut, it goes on after the last whole event: nothing missing, nothing twice."""
    gateway.answer(EVENTS, events(b"".join(STORY)[:cut], cut=hard), resumable())
    assert [str(each.id) for each in connect(gateway.url).stream(TASK)] == IDS
    assert len(gateway.seen(EVENTS)) == 2


def test_repeated_events_are_told_once(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """A gateway that repeats what was seen does not make the client repeat it."""
    gateway.answer(EVENTS, events(*STORY[:4]), events(*STORY))
    assert [str(each.id) for each in connect(gateway.url).stream(TASK)] == IDS


def test_stream_starts_after_a_given_event(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """``after`` continues where an earlier run stopped."""
    gateway.answer(EVENTS, resumable())
    assert [str(each.id) for each in connect(gateway.url).stream(TASK, after="1-3")] == IDS[4:]
    assert gateway.seen(EVENTS)[0]["last-event-id"] == "1-3"


def test_text_of_a_lost_attempt_is_dropped(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """After ``task.retrying`` or ``task.snapshot`` the text starts over."""
    gateway.answer(
        EVENTS,
        events(
            *STORY[:4],
            event("2-0", "task.retrying"),
            event("2-1", "task.running"),
            event("2-4", "task.snapshot", text="xyz"),
            event("2-5", "task.chunk", text="!"),
            event("2-6", "task.completed"),
        ),
    )
    fold = TextFold()
    for each in connect(gateway.url).stream(TASK):
        fold.add(each)
    assert fold.text == "xyz!"


def test_stream_of_a_foreign_task_is_refused(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """A refusal ends the stream at once; only passing trouble is tried again."""
    gateway.answer(
        EVENTS, problem(503, "unavailable", "busy", Retry_After="0"), problem(404, "not_found", "no")
    )
    with pytest.raises(ApiError, match="not_found"):
        list(connect(gateway.url).stream(TASK))
    assert len(gateway.seen(EVENTS)) == 2


def test_stream_gives_up_on_a_gateway_that_only_hangs_up(
    gateway: StandIn, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that bring nothing, again and again, are an error in the end."""
    monkeypatch.setattr("neurogrid.client.retrying.FIRST_DELAY", 0.001)
    gateway.answer(EVENTS, events())
    with pytest.raises(ConnectionFailed, match="ended the stream"):
        list(connect(gateway.url).stream(TASK))


def test_wait_returns_the_finished_task(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """``wait`` follows the events and returns the task as it is in the end."""
    gateway.answer(EVENTS, resumable())
    gateway.answer(f"GET /v1/tasks/{TASK}", json(task_json()))
    assert connect(gateway.url).wait(TASK, timeout=60).status == "completed"


def test_wait_ends_in_time(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """``wait`` raises when the time is over, whether the gateway is silent or hangs up."""
    gateway.answer(EVENTS, events(*STORY[:2]))
    with pytest.raises(WaitTimeout):
        connect(gateway.url).wait(TASK, timeout=0.2)


def test_wait_outlasts_a_replay(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """``wait`` goes on when the task it saw fail was replayed before it looked."""
    first = [event("0-1", "task.queued"), event("1-1", "task.running"), event("1-2", "task.failed")]
    second = [
        *first,
        event("2-0", "task.retrying"),
        event("2-1", "task.running"),
        event("2-2", "task.completed"),
    ]
    gateway.answer(EVENTS, events(*first), events(*second))
    gateway.answer(f"GET /v1/tasks/{TASK}", json(task_json(status="queued")), json(task_json()))
    assert connect(gateway.url).wait(TASK, timeout=60).status == "completed"


def test_a_stream_goes_on_after_a_former_end(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """A final event is the last one only when the gateway ends the stream after it."""
    story = [
        event("0-1", "task.queued"),
        event("1-1", "task.running"),
        event("1-2", "task.failed"),
        event("2-0", "task.retrying"),
        event("2-1", "task.running"),
        event("2-2", "task.completed"),
    ]
    gateway.answer(EVENTS, events(*story))
    told = [str(each.id) for each in connect(gateway.url).stream(TASK)]
    assert told == ["0-1", "1-1", "1-2", "2-0", "2-1", "2-2"]


def test_dead_letters_and_replays(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """Dead letters are listed page by page; of a replay one learns what runs again and what does not."""
    refused = {"id": "b", "code": "conflict", "detail": "It is running."}
    answer = {"replayed": ["a"], "refused": [refused], "more": True}
    page = {"data": [task_json(id="a", status="failed", dead_letter=True)], "next_cursor": None}
    gateway.answer("GET /v1/tasks/dead-letters", json(page))
    gateway.answer("POST /v1/tasks/dead-letters/replay", json(answer))
    gateway.answer(f"POST /v1/tasks/{TASK}/retry", json(task_json(status="queued")))
    client = connect(gateway.url)
    assert [task.dead_letter for task in client.dead_letters(model="m")] == [True]
    assert client.retry(TASK).status == "queued"
    found = client.replay(["a", "b"])
    assert found.replayed == ("a",)
    assert [(row.id, row.code) for row in found.refused] == [("b", "conflict")]
    assert client.replay_dead_letters(model="m").more
    bodies = [orjson.loads(body) for _, _, body in gateway.requests if body]
    assert bodies == [{"ids": ["a", "b"]}, {"all": True, "model": "m"}]


def test_log_models_nodes_and_cancel(gateway: StandIn, connect: Callable[..., Any]) -> None:
    """The other reads come back typed too, with what this release does not know kept in ``raw``."""
    log = [orjson.loads(piece.split(b"data: ", 1)[1]) for piece in STORY]
    gateway.answer(f"GET /v1/tasks/{TASK}/log", json({"data": log}))
    gateway.answer("GET /v1/models", json({"data": [{"id": "m", "kind": "text", "future": 1}]}))
    gateway.answer("GET /v1/nodes", json({"data": [{"id": "1", "name": "n", "connected": True}]}))
    gateway.answer(f"POST /v1/tasks/{TASK}/cancel", json(task_json(status="canceled", error=None)))
    client = connect(gateway.url)
    assert [str(each.id) for each in client.log(TASK)] == IDS
    assert client.models()[0].raw["future"] == 1
    assert client.nodes()[0].connected
    assert client.cancel(TASK).finished
