"""What callers meet who ask too often (LIM-1, LIM-2, LIM-5, LIM-6, LIM-8)."""

from __future__ import annotations

import asyncio
import re

import pytest

from neurogrid.auth.policy import Role, Tier
from neurogrid.core.settings_limits import Algorithm, LimitSettings
from tests.support.door import PASSWORD
from tests.support.gateway import RunningGateway, Start
from tests.support.limits import GENEROUS, TASK, few, submit

pytestmark = pytest.mark.asyncio

DEFAULTS = LimitSettings()
HEADERS = {
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-tier",
}


@pytest.mark.parametrize("algorithm", [Algorithm.SLIDING_WINDOW, Algorithm.TOKEN_BUCKET])
async def test_a_free_user_gets_ten_tasks_an_hour(start: Start, algorithm: Algorithm) -> None:
    """LIM-1, LIM-5: of 15 quick submissions 10 are accepted; the others are told when to come again and how to get more."""
    gateway: RunningGateway = await start(limits=LimitSettings(algorithm=algorithm))
    ada = await gateway.account(tier=Tier.FREE)
    answers = [await submit(ada) for _ in range(15)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429] * 5
    for number, answer in enumerate(answers):
        assert set(answer.headers) >= HEADERS
        assert answer.headers["x-ratelimit-tier"] == "free"
        assert answer.headers["ratelimit-limit"] == answer.headers["x-ratelimit-limit"] == "10"
        assert answer.headers["ratelimit-remaining"] == str(max(0, 9 - number))
        assert '"tasks";q=10;w=3600' in answer.headers["ratelimit-policy"]
    refused, problem = answers[-1], answers[-1].json()
    assert refused.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["status"]) == ("rate_limited", 429)
    assert 0 < int(refused.headers["retry-after"]) <= 2 * 3600
    assert int(refused.headers["ratelimit-reset"]) >= int(refused.headers["retry-after"])
    assert "Upgrade to the tier pro for 100 task submissions an hour" in problem["detail"]
    assert len((await ada.http.get("/v1/tasks")).json()["data"]) == 10


async def test_requests_count_a_minute_and_an_hour(start: Start) -> None:
    """LIM-1: the 21st request within a minute is refused, whatever it asks for; others are not touched."""
    gateway: RunningGateway = await start(limits=DEFAULTS)
    ada, eve = await gateway.account(tier=Tier.FREE), await gateway.account(tier=Tier.FREE)
    paths = ["/v1/tasks", "/v1/models", "/v1/tasks/0190b0f0-0000-7000-8000-000000000000", "/v1/nodes"]
    answers = [await ada.http.get(paths[number % 4]) for number in range(21)]
    assert 429 not in [answer.status_code for answer in answers[:20]]
    assert answers[20].status_code == 429
    assert "20 requests a minute" in answers[20].json()["detail"]
    assert set(answers[3].headers) >= HEADERS, "a refusal for lack of permission counts and says so"
    assert (await eve.http.get("/v1/models")).headers["ratelimit-remaining"] == "19"


@pytest.mark.parametrize(("tier", "limit"), [(Tier.FREE, "10"), (Tier.PRO, "100"), (Tier.ENTERPRISE, "500")])
async def test_tiers(start: Start, tier: Tier, limit: str) -> None:
    """LIM-1: each tier has its own figures; the narrowest window is the one that answers show."""
    gateway: RunningGateway = await start(limits=DEFAULTS)
    answer = await submit(await gateway.account(tier=tier))
    assert (answer.headers["x-ratelimit-tier"], answer.headers["x-ratelimit-limit"]) == (tier.value, limit)


async def test_the_operator_is_not_limited(start: Start) -> None:
    """LIM-1: the tier `unlimited` is not, not even by the address."""
    gateway: RunningGateway = await start(limits=DEFAULTS.model_copy(update={"address": "5/hour"}))
    admin = await gateway.account(Role.ADMIN, tier=Tier.UNLIMITED)
    answers = [await admin.http.get("/v1/tasks") for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].headers["x-ratelimit-tier"] == "unlimited"
    assert "ratelimit-limit" not in answers[0].headers


async def test_exactly_the_limit_gets_through(start: Start) -> None:
    """LIM-3: of 200 submissions at once, exactly as many are accepted as there are left."""
    gateway: RunningGateway = await start(limits=few(tasks="73/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    answers = await asyncio.gather(*(submit(ada) for _ in range(200)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(202), statuses.count(429)) == (73, 127)


async def test_classes_have_windows_of_their_own(start: Start) -> None:
    """LIM-8: lists, bulk work and new keys are limited beside the tier's requests, keys by the day."""
    settings = GENEROUS.model_copy(update={"reads": "3/hour", "heavy": "2/minute", "keys": "1/day"})
    gateway: RunningGateway = await start(limits=settings)
    ada = await gateway.account(Role.OPERATOR)
    assert [(await ada.http.get("/v1/tasks")).status_code for _ in range(4)] == [200] * 3 + [429]
    assert (await ada.http.get("/v1/models")).status_code == 200
    bulk = {"tasks": [TASK]}
    assert [(await ada.http.post("/v1/tasks/bulk", json=bulk)).status_code for _ in range(3)] == [
        200,
        200,
        429,
    ]
    token = {"name": "node", "models": ["debug.echo"]}
    answers = [await ada.http.post("/v1/nodes/tokens", json=token) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429], answers[0].text
    assert answers[1].headers["ratelimit-limit"] == "1"
    assert "a day" in answers[1].json()["detail"]


async def test_strangers_have_a_limit_by_address(start: Start) -> None:
    """LIM-2: without valid credentials an address may ask 100 times in 15 minutes; who has a key goes on."""
    gateway: RunningGateway = await start(limits=GENEROUS.model_copy(update={"anonymous": "100/15 minutes"}))
    ada, stranger = await gateway.account(), await gateway.client()
    bad = {"Authorization": "Bearer ng_nobody"}
    statuses = [
        (await stranger.get("/v1/tasks", headers=bad if number % 2 else {})).status_code
        for number in range(102)
    ]
    assert statuses == [401] * 100 + [429] * 2
    answer = await stranger.get("/v1/tasks")
    assert answer.headers["x-ratelimit-tier"] == "anonymous"
    assert 0 < int(answer.headers["retry-after"]) <= 2 * 15 * 60
    assert "Upgrade" not in answer.json()["detail"]
    assert (await ada.http.get("/v1/tasks")).status_code == 200
    assert (await stranger.get("/health/ready")).status_code == 200


async def test_a_made_up_address_gains_nothing(start: Start) -> None:
    """HTTP-4: whatever a stranger says of where they come from, they are counted where they do."""
    gateway: RunningGateway = await start(limits=GENEROUS.model_copy(update={"anonymous": "5/hour"}))
    stranger = await gateway.client()
    for number in range(7):
        lies = dict.fromkeys(
            ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP"), f"203.0.113.{number}"
        )
        answer = await stranger.get("/v1/tasks", headers={**lies, "Forwarded": f"for=203.0.113.{number}"})
        assert answer.status_code == (401 if number < 5 else 429)


async def test_behind_a_trusted_proxy_the_client_counts(start: Start) -> None:
    """HTTP-4: what our proxy says of whom it serves is believed, of IPv6 the /64; what that one says is not."""
    settings = GENEROUS.model_copy(update={"anonymous": "2/hour", "trusted_proxies": "127.0.0.0/8"})
    gateway: RunningGateway = await start(limits=settings)
    proxy = await gateway.client()

    async def statuses(*forwarded: str) -> list[int]:
        return [
            (await proxy.get("/v1/tasks", headers={"X-Forwarded-For": each})).status_code
            for each in forwarded
        ]

    assert await statuses(*(f"1.1.1.{number}, 203.0.113.9" for number in range(3))) == [401, 401, 429]
    assert await statuses("203.0.113.10") == [401]
    assert await statuses("2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::", "2001:db8:0:1::") == [
        401,
        401,
        429,
        401,
    ]


async def test_what_is_no_address_is_no_way_out(start: Start) -> None:
    """LIM-2: whatever a header says that names no address, all who send such things are one; none is believed or fails."""
    limits = GENEROUS.model_copy(update={"anonymous": "3/hour", "trusted_proxies": "127.0.0.0/8"})
    gateway: RunningGateway = await start(limits=limits)
    stranger = await gateway.client()
    forged = ("x", "}{ng:limit:{u:ada}", "999.1.1.1", "1.2.3.4\tX-Tier: unlimited", "é" * 500, ",,,", "::1::")
    answers = [
        await stranger.get("/v1/tasks", headers={b"X-Forwarded-For": each.encode("latin-1")})
        for each in forged
    ]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 4
    assert {answer.headers["x-ratelimit-tier"] for answer in answers} == {"anonymous"}


async def test_an_address_has_a_ceiling_for_all_who_are_signed_in(start: Start) -> None:
    """LIM-2: many accounts at one address do not make a limit of one address larger."""
    gateway: RunningGateway = await start(limits=GENEROUS.model_copy(update={"address": "6/hour"}))
    accounts = [await gateway.account() for _ in range(4)]
    statuses = [(await each.http.get("/v1/models")).status_code for each in accounts for _ in range(2)]
    assert statuses == [200] * 6 + [429] * 2


async def test_two_keys_of_a_user_share_a_limit(start: Start) -> None:
    """LIM-2: more keys do not make more requests."""
    gateway: RunningGateway = await start(limits=few(requests="4/hour"))
    ada = await gateway.account(tier=Tier.FREE)
    other = await gateway.client(await gateway.auth.create_key(ada.email, "second", None))
    statuses = [
        (await client.get("/v1/models")).status_code for _ in range(3) for client in (ada.http, other)
    ]
    assert statuses == [200] * 4 + [429] * 2


async def test_failed_sign_ins_are_limited(start: Start) -> None:
    """LIM-2, AUTH-6: an account's are delayed, with one answer for it; those of an address have a ceiling besides, which
    counts no more than were judged and keeps nobody out who comes by a device that they used before.
    """
    gateway: RunningGateway = await start(
        limits=GENEROUS.model_copy(update={"sign_in_address": "6/15 minutes"})
    )
    stranger = await gateway.client()
    email = "ada@example.org"
    await gateway.auth.create_user(email, Role.USER, Tier.FREE, PASSWORD)
    right, wrong = {"email": email, "password": PASSWORD}, {"email": email, "password": "not the password"}
    device = (await stranger.post("/v1/auth/token", json={**right, "cookie": True})).cookies
    stranger.cookies.clear()
    delayed = [(await stranger.post("/v1/auth/token", json=wrong)) for _ in range(6)]
    assert [answer.json()["code"] for answer in delayed] == ["wrong_credentials"] * 3 + [
        "sign_in_delayed"
    ] * 3
    others = [{"email": f"{n}@example.org", "password": "x"} for n in range(5)]
    codes = [(await stranger.post("/v1/auth/token", json=each)).json()["code"] for each in others]
    assert codes == ["wrong_credentials"] * 3 + ["rate_limited"] * 2
    assert (await stranger.post("/v1/auth/token", json=right)).json()["code"] == "rate_limited"
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in device.items() if "device" in name)}
    assert (await stranger.post("/v1/auth/token", json=right, headers=cookie)).status_code == 200


async def test_statistics_say_who_is_limited_where_and_how_often(start: Start) -> None:
    """LIM-6: operators see callers, paths and windows; users do not."""
    gateway: RunningGateway = await start(limits=few(tasks="1/hour"))
    ada, operator = await gateway.account(tier=Tier.FREE), await gateway.account(Role.OPERATOR)
    for _ in range(4):
        await submit(ada)
    assert (await ada.http.get("/v1/monitoring/stats/rate-limits")).status_code == 403
    found = (await operator.http.get("/v1/monitoring/stats/rate-limits")).json()
    assert found["engine"] == "memory"
    assert found["refused"] == [{"tier": "free", "window": "tasks", "refused": 3}]
    assert found["paths"] == [{"path": "/v1/tasks", "refused": 3, "windows": {"tasks": 3}}]
    assert [(each["caller"], each["refused"]) for each in found["callers"]] == [(f"u:{ada.id}", 3)]
    assert found["allowed"]["free"] == 2  # one task, and this user's look at the statistics
    assert re.fullmatch(r"[0-9a-f-]{36}", found["gateway"])


async def test_limits_can_be_switched_off(start: Start) -> None:
    """A setting turns everything off, headers but the tier's included."""
    gateway: RunningGateway = await start(limits=LimitSettings(enabled=False))
    ada = await gateway.account(tier=Tier.FREE)
    answers = [await submit(ada) for _ in range(25)]
    assert {answer.status_code for answer in answers} == {202}
    assert "ratelimit-limit" not in answers[0].headers
