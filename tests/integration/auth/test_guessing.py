"""Guessing passwords: how slow it gets, for whom, and what the guesser learns."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from neurogrid.auth import passwords
from neurogrid.auth.lockout import FROM_ALL, GuessesDelayed, Lockout
from neurogrid.auth.passwords import Passwords
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.signin import subject_of
from neurogrid.auth.tables import SignInFailure, User
from neurogrid.auth.visitors import network_of
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.errors import Unavailable
from neurogrid.core.ids import now
from tests.support.door import OTHER, PASSWORD, SECRET, Door

pytestmark = pytest.mark.asyncio

SAME = ("type", "title", "status", "detail", "code", "errors")


def lockout_of(door: Door) -> Lockout:
    return Lockout(door.grid.database, Keyring([SECRET.encode()]))


async def later(database: Database, seconds: float) -> None:
    """Let the counted failures be longer ago."""
    async with database.transaction() as transaction:
        for row in (await transaction.execute(select(SignInFailure))).scalars():
            row.last_at -= timedelta(seconds=seconds)
            if row.blocked_until is not None:
                row.blocked_until -= timedelta(seconds=seconds)


async def test_guesses_get_slower(door: Door) -> None:
    """AUTH-6, LIM-2: two failures are free, the next wait longer and longer, the fifth a quarter of an hour; then one
    at a time. The right password waits like any other, and ends it.
    """
    ada = await door.register()
    assert [(await ada.sign_in(OTHER)).status_code for _ in range(2)] == [401, 401]
    for wait in (6, 75, 900, 900):
        assert (await ada.sign_in(OTHER)).status_code == 401
        refused = await ada.sign_in()
        assert (refused.status_code, refused.json()["code"]) == (429, "sign_in_delayed")
        assert wait / 2 < int(refused.headers["retry-after"]) <= wait + 2
        await later(door.grid.database, wait + 2)
    assert (await ada.sign_in()).status_code == 200
    assert [(await ada.sign_in(OTHER)).status_code for _ in range(4)] == [401] * 3 + [429], "all is forgotten"


async def test_known_and_unknown_accounts_answer_alike(door: Door) -> None:
    """Text, status and delays are the same whether or not there is such an account, or it has a password."""
    ada = await door.register()
    await door.grid.auth.create_user("keys@example.org", Role.USER, Tier.FREE, None)
    guesses = {ada.email: OTHER, "nobody@example.org": OTHER, "keys@example.org": "", "no address": OTHER}
    seen = []
    for email, password in guesses.items():
        answers = [await door.post("token", email=email, password=f"{password}{n}") for n in range(7)]
        seen.append([tuple(str(answer.json()[name]) for name in SAME[:3] + SAME[4:]) for answer in answers])
    assert all(each == seen[0] for each in seen)
    assert [answer[2] for answer in seen[0]] == ["401"] * 3 + ["429"] * 4


async def test_unknown_accounts_take_as_long(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much is hashed, and by the same parameters, for an account that does not exist as for one that does."""
    ada = await door.register()
    compared: list[tuple[str, str]] = []
    hasher = passwords._argon2()

    class Watched:
        def verify(self, password: str, known: str) -> bool:
            compared.append((password, known.rsplit("$", 2)[0]))
            return hasher.verify(password, known)

        def hash(self, password: str) -> str:
            return hasher.hash(password)

    monkeypatch.setattr(passwords, "_argon2", Watched)
    await ada.sign_in(OTHER)
    await door.post("token", email="nobody@example.org", password=OTHER)
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(User).values(disabled_at=now()))
    await ada.sign_in(OTHER)
    assert len(compared) == 3
    assert len(set(compared)) == 1


async def test_parallel_guesses_are_no_more_than_those_in_a_row(door: Door) -> None:
    """A guess counts before it is judged: of fifty at once no more are judged than in a row."""
    ada = await door.register()
    answers = await asyncio.gather(*(ada.sign_in(f"{OTHER}{n}") for n in range(50)))
    codes = [answer.status_code for answer in answers]
    assert codes.count(401) == 3
    assert codes.count(429) == 47


async def test_nobody_is_locked_out_from_elsewhere(door: Door) -> None:
    """Whoever guesses wrong holds up their own network, not the owner on another."""
    ada = await door.register()
    lockout = lockout_of(door)
    for _ in range(3):
        await lockout.begin(subject_of(ada.email), network_of("203.0.113.9"))
    with pytest.raises(GuessesDelayed):
        await lockout.begin(subject_of(ada.email), network_of("203.0.113.77"))
    assert (await ada.sign_in()).status_code == 200


async def test_guesses_from_everywhere(door: Door) -> None:
    """Guesses from many networks have a ceiling of their own; known devices and networks pass, and delays are short."""
    ada = await door.register()
    device = await ada.sign_in(cookie=True)
    lockout = lockout_of(door)
    for n in range(FROM_ALL.free):
        await lockout.begin(subject_of(ada.email), f"net {n}")
    with pytest.raises(GuessesDelayed) as delayed:
        await lockout.begin(subject_of(ada.email), "one more")
    assert int(delayed.value.headers["Retry-After"]) <= FROM_ALL.longest
    assert (await ada.sign_in()).status_code == 200, "from a network where the account was used before"
    async with door.grid.database.transaction() as transaction:
        for row in (await transaction.execute(select(SignInFailure))).scalars():
            row.blocked_until = now() + timedelta(minutes=1)
    cookie = next(
        each.partition(";")[0]
        for each in device.headers.get_list("set-cookie")
        if each.startswith("ng_device")
    )
    body = {"email": ada.email, "password": PASSWORD}
    answer = await door.http.post("/v1/auth/token", json=body, headers={"Cookie": cookie})
    assert answer.status_code == 200
    forged = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
    answer = await door.http.post("/v1/auth/token", json=body, headers={"Cookie": forged})
    assert answer.status_code == 200, "the network is known"


async def test_a_device_is_known_for_its_account_only(door: Door) -> None:
    """Many accounts' failures on one device are counted apart, and a cookie of one says nothing of another."""
    ada, eve = await door.register(), await door.register()
    answer = await eve.sign_in(cookie=True)
    cookie = next(
        each.partition(";")[0]
        for each in answer.headers.get_list("set-cookie")
        if each.startswith("ng_device")
    )
    for _ in range(5):
        await door.http.post(
            "/v1/auth/token", json={"email": ada.email, "password": OTHER}, headers={"Cookie": cookie}
        )
    assert (await ada.sign_in()).status_code == 429, "the failures count for the network, cookie or not"


async def test_what_was_guessed_is_not_kept(door: Door) -> None:
    """Neither the address nor a password typed in its place can be read from the counters."""
    await door.post("token", email="my secret password", password=OTHER)
    rows = await door.grid.database.all(select(SignInFailure.subject, SignInFailure.place))
    assert len(rows) == 2
    assert all("secret" not in row["subject"] for row in rows)


async def test_old_failures_are_forgotten(door: Door) -> None:
    """After an hour without a failure one begins anew, and the counters go."""
    ada = await door.register()
    for _ in range(4):
        await ada.sign_in(OTHER)
    await later(door.grid.database, 3601)
    assert [(await ada.sign_in(OTHER)).status_code for _ in range(4)] == [401] * 3 + [429]
    await later(door.grid.database, 3601)
    await lockout_of(door).forget()
    assert not await door.grid.database.all(select(SignInFailure.subject))


async def test_a_full_queue_is_503_and_costs_no_attempt(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many passwords wait the next are turned away, and their attempts do not count."""
    ada = await door.register()

    async def full(*_: object) -> bool:
        raise Unavailable("full", retry_after=2)

    with monkeypatch.context() as patch:
        patch.setattr(Passwords, "verify", full)
        for _ in range(8):
            answer = await ada.sign_in()
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert (await ada.sign_in()).status_code == 200
