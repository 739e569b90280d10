"""Tokens of text generation are reserved before and settled afterwards (LIM-3)."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from neurogrid.auth.policy import Identity, Role, Tier
from neurogrid.core.errors import OutcomeUnknown, Unavailable
from neurogrid.core.settings_limits import FreeLimits, LimitSettings
from neurogrid.limits.counting import Counting
from neurogrid.limits.errors import LimitExceeded
from neurogrid.limits.service import LimitService
from neurogrid.limits.tokens import TokenBudget
from neurogrid.protocol.messages import ModelSpec, Usage
from neurogrid.queue.journal import Journal
from neurogrid.runners.base import Emit, Output
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.limits import GENEROUS
from tests.support.node import Puppet
from tests.support.until import until

pytestmark = pytest.mark.asyncio


class Brief:
    """Generates ten tokens, whatever it may."""

    spec = ModelSpec(name="brief", version="1", kind="text-generation", slots=8)

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        return Output({"text": "x"}, Usage(prompt_tokens=4, completion_tokens=6))


class Hanging(Brief):
    """Never says anything."""

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


class Sure(Hanging):
    """The same, and deterministic."""

    spec = ModelSpec(name="brief", version="1", kind="text-generation", slots=8, deterministic=True)


async def grid_of(start: Start, tokens: str, model: Brief | None = None) -> tuple[RunningGateway, Account]:
    free = FreeLimits(requests="", tasks="", tokens=tokens)
    limits = GENEROUS.model_copy(update={"free": free})
    gateway = await start(limits=limits, puppet=cast("Puppet", model or Brief()))
    return gateway, await gateway.account(tier=Tier.FREE)


async def generate(account: Account, max_tokens: int | None, *, wait: bool = False, text: str = "hi") -> int:
    parameters = {} if max_tokens is None else {"max_tokens": max_tokens}
    answer = await account.http.post(
        "/v1/tasks",
        json={"model": "brief", "input": text, "parameters": parameters},
        headers={"Prefer": "wait=30"} if wait else {},
    )
    if answer.status_code == 429:
        assert answer.json()["code"] == "rate_limited"
        assert int(answer.headers["retry-after"]) > 0
        assert "tokens of text generation" in answer.json()["detail"]
    return answer.status_code


async def test_parallel_calls_do_not_overshoot(start: Start) -> None:
    """Of ten calls at once that may take 402 tokens each, 1,000 an hour let two through; no figure is known yet."""
    _, ada = await grid_of(start, "1000/hour", Hanging())
    statuses = await asyncio.gather(*(generate(ada, 400, text=f"hi {number}") for number in range(10)))
    assert statuses.count(202) == 2
    assert statuses.count(429) == 8


async def test_a_call_without_max_tokens_is_not_refused(start: Start) -> None:
    """It reserves what is usual, and where the limit is less than that, all of it."""
    _, ada = await grid_of(start, "100/hour")
    assert await generate(ada, None) == 202
    _, eve = await grid_of(start, "1000/hour")
    assert [await generate(eve, None, text=f"hi {number}") for number in range(3)] == [202] * 3


async def test_what_was_not_used_is_given_back(start: Start) -> None:
    """Calls that may take 900 of 1,000 tokens and take ten follow each other freely."""
    _, ada = await grid_of(start, "1000/hour")
    for number in range(5):

        async def accepted(number: int = number) -> bool:
            return await generate(ada, 900, wait=True, text=f"hi {number}") == 200

        await until(accepted, what="what the last call did not use is given back")


async def test_who_shares_an_execution_takes_no_tokens(start: Start) -> None:
    """R20: of identical calls only the one that runs is charged."""
    _, ada = await grid_of(start, "1000/hour", Sure())
    assert [await generate(ada, 400) for _ in range(5)] == [202] * 5
    assert await generate(ada, 400, text="other") == 202
    assert await generate(ada, 400, text="one too many") == 429


async def test_what_is_not_written_takes_no_tokens(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that the journal refuses gives back what was reserved for it; one that may be written does not."""
    _, ada = await grid_of(start, "1000/hour", Hanging())

    async def refuse(error: Exception) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "execute", AsyncMock(side_effect=error))
            return await generate(ada, 900)

    assert await refuse(Unavailable("busy")) == 503
    assert await refuse(OutcomeUnknown("who knows")) == 503
    assert await generate(ada, 900) == 429


async def test_a_key_is_answered_though_the_tokens_are_used_up(start: Start) -> None:
    """R19, LIM-3: whoever repeats a request gets the task of then, however much is used by now."""
    _, ada = await grid_of(start, "1000/hour", Hanging())
    body = {"model": "brief", "input": "hi", "parameters": {"max_tokens": 900}}
    alone = [await ada.http.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in alone] == [202, 202]
    assert alone[0].json()["id"] == alone[1].json()["id"]
    assert await generate(ada, 900) == 429


async def test_a_replay_reserves_tokens(start: Start) -> None:
    """LIM-3: a task that runs again takes its tokens again, and is refused where they are not left."""
    _, ada = await grid_of(start, "2000/hour", Hanging())
    body = {"model": "brief", "input": "hi", "parameters": {"max_tokens": 900}}
    id = (await ada.http.post("/v1/tasks", json=body)).json()["id"]
    again, path = f"/v1/tasks/{id}/retry", "/v1/tasks/dead-letters/replay"
    await ada.http.post(f"/v1/tasks/{id}/cancel")
    answers = await asyncio.gather(*(ada.http.post(again) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert await generate(ada, 900) == 429
    await ada.http.post(f"/v1/tasks/{id}/cancel")
    for answer in (await ada.http.post(again), await ada.http.post(path, json={"ids": [id]})):
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert "tokens of text generation" in answer.json()["detail"]
    assert (await ada.task(id))["status"] == "canceled"


async def test_a_replay_that_is_not_written_takes_no_tokens(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LIM-3: what the journal refuses gives its tokens back."""
    _, ada = await grid_of(start, "2000/hour", Hanging())
    body = {"model": "brief", "input": "hi", "parameters": {"max_tokens": 900}}
    id = (await ada.http.post("/v1/tasks", json=body)).json()["id"]
    await ada.http.post(f"/v1/tasks/{id}/cancel")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "execute", AsyncMock(side_effect=Unavailable("busy")))
        assert (await ada.http.post(f"/v1/tasks/{id}/retry")).status_code == 503
        answer = await ada.http.post("/v1/tasks/dead-letters/replay", json={"ids": [id]})
        assert [row["code"] for row in answer.json()["refused"]] == ["unavailable"]
    assert await generate(ada, 900) == 202


def budget(tell: Any, counting: Counting, settings: LimitSettings) -> TokenBudget:
    return TokenBudget(LimitService(settings, counting), counting, tell)


async def test_another_gateway_may_run_the_task() -> None:
    """The gateway that runs a task says what it used to the one that reserved for it; more than reserved counts, too."""
    settings = GENEROUS.model_copy(update={"free": FreeLimits(requests="", tasks="", tokens="100/hour")})
    ada = Identity("ada", "1", Role.USER, Tier.FREE)
    counting = Counting(settings, None, "here")

    async def nobody(_: bytes) -> None:
        raise AssertionError("what is known here is told to nobody")

    here = budget(nobody, counting, settings)

    async def tell(payload: bytes) -> None:
        here.listen(payload)

    there = budget(tell, Counting(settings, None, "there"), settings)
    await here.reserve(ada, "task", 90)
    with pytest.raises(LimitExceeded):
        await here.reserve(ada, "other", 20)
    await there.used("task", 30)
    await here.reserve(ada, "other", 70)
    await here.used("other", 75)
    with pytest.raises(LimitExceeded):
        await here.reserve(ada, "third", 1)
    here.release("nobody's")
    here.listen(b"nonsense")
    await there.used("task", 1000)  # said twice, it counts once
