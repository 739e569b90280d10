"""Sessions: how they go on, how they end, and what a thief gets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jose import jwt
from sqlalchemy import func, select, update

from neurogrid.auth import service, tokens
from neurogrid.auth.access import AccessTokens, Claims
from neurogrid.auth.service import CACHE_SECONDS, AuthService
from neurogrid.auth.tables import AuthSession, RefreshToken, User
from neurogrid.core.crypto import Keyring
from neurogrid.core.errors import Unauthenticated
from neurogrid.core.ids import new_id, now
from tests.support.door import PASSWORD, SECRET, Clock, Door
from tests.support.gateway import Start, running

pytestmark = pytest.mark.asyncio


async def past_grace(door: Door) -> None:
    """Let every use of a refresh token so far be longer ago than is forgiven."""
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(
            update(RefreshToken)
            .where(RefreshToken.used_at.is_not(None))
            .values(used_at=now() - timedelta(minutes=1))
        )


async def test_a_refresh_token_is_good_once(door: Door) -> None:
    """A refresh gives a new pair; the old one again, later, ends the session for whoever has a newer one."""
    ada = await door.register()
    first = await ada.tokens()
    second = (await door.post("refresh", refresh_token=first["refresh_token"])).json()
    assert second["session_id"] == first["session_id"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await door.get("/v1/auth/me", second["access_token"])).status_code == 200
    other = await ada.tokens()
    await past_grace(door)
    assert (await door.post("refresh", refresh_token=first["refresh_token"])).status_code == 401
    for token in (first, second):
        assert (await door.get("/v1/auth/me", token["access_token"])).status_code == 401
        assert (await door.post("refresh", refresh_token=token["refresh_token"])).status_code == 401
    assert (await door.get("/v1/auth/me", other["access_token"])).status_code == 200, "of another session"


async def test_asking_twice_at_once_gives_the_same(door: Door) -> None:
    """Windows of one browser that refresh together all get the same successor: the family does not fork."""
    first = await (await door.register()).tokens()
    answers = await asyncio.gather(
        *(door.post("refresh", refresh_token=first["refresh_token"]) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    [row] = await door.grid.database.all(select(func.count(RefreshToken.hash).label("n")))
    assert row["n"] == 2


async def test_a_thief_within_the_grace_is_found_out(door: Door) -> None:
    """The old token is not forgiven once its successor was used, however soon it comes."""
    first = await (await door.register()).tokens()
    second = (await door.post("refresh", refresh_token=first["refresh_token"])).json()
    third = (await door.post("refresh", refresh_token=second["refresh_token"])).json()
    assert (await door.post("refresh", refresh_token=first["refresh_token"])).status_code == 401
    assert (await door.post("refresh", refresh_token=third["refresh_token"])).status_code == 401


async def test_refresh_by_oauth2_form(door: Door) -> None:
    """OAuth2 clients sign in and refresh by forms at one URL."""
    ada = await door.register()
    form = {
        "grant_type": "password",
        "username": ada.email,
        "password": PASSWORD,
        "scope": "",
        "client_id": "",
    }
    first = (await door.http.post("/v1/auth/token", data=form)).json()
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = (await door.http.post("/v1/auth/token", data=form)).json()
    assert second["session_id"] == first["session_id"]
    assert (await door.get("/v1/tasks", second["access_token"])).status_code == 200
    for wrong in (
        {"grant_type": "client_credentials"},
        {"grant_type": "password", "username": ada.email},
        {"username": "\0", "password": PASSWORD, "grant_type": "password"},
        {"grant_type": "refresh_token"},
    ):
        assert (await door.http.post("/v1/auth/token", data=wrong)).status_code in {401, 422}
    twice = "grant_type=password&username=a&username=b&password=c"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await door.http.post("/v1/auth/token", content=twice, headers=kind)).status_code == 400
    assert (
        await door.http.post("/v1/auth/token", content="<x/>", headers={"Content-Type": "text/xml"})
    ).status_code == 415


async def test_tokens_that_are_none(door: Door) -> None:
    """What is no refresh token is 401, and not repeated."""
    for token in ("", "ngr_x", "x" * 150, f"ng_{'a' * 38}", f"ngr_{'é' * 38}", tokens.make("ngr").text):
        answer = await door.post("refresh", refresh_token=token)
        assert answer.status_code == 401
        assert not token or token not in answer.text


async def test_an_access_token_is_no_refresh_token_nor_the_other_way(door: Door) -> None:
    """Each opens its own door only."""
    found = await (await door.register()).tokens()
    assert (await door.post("refresh", refresh_token=found["access_token"][:150])).status_code == 401
    assert (await door.get("/v1/tasks", found["refresh_token"])).status_code == 401


async def test_sessions_are_listed_and_revoked(door: Door) -> None:
    """One sees where one is signed in, and ends one of them or all; nobody else's."""
    ada, eve = await door.register(), await door.register()
    mine = [await ada.tokens() for _ in range(3)]
    hers = await eve.tokens()
    access = mine[0]["access_token"]
    listed = (await door.get("/v1/auth/sessions", access)).json()["data"]
    assert {each["id"] for each in listed} == {each["session_id"] for each in mine}
    assert [each["id"] for each in listed if each["current"]] == [mine[0]["session_id"]]
    shown = listed[0]
    assert (shown["address"], shown["methods"]) == ("127.0.0.1", ["password"])
    assert shown["user_agent"].startswith("python-httpx")

    async def delete(path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return (await door.http.delete(f"/v1/auth/sessions{path}", headers=headers)).status_code

    for id in (mine[1]["session_id"], new_id(), "x", "%00"):
        assert await delete(f"/{id}", hers["access_token"]) == 404
    assert await delete(f"/{mine[1]['session_id']}", access) == 204
    assert await delete(f"/{mine[1]['session_id']}", access) == 404
    assert (await door.get("/v1/auth/me", mine[1]["access_token"])).status_code == 401
    assert await delete("?except_current=true", access) == 204
    assert (await door.get("/v1/auth/me", mine[2]["access_token"])).status_code == 401
    assert await delete("", access) == 204
    assert (await door.get("/v1/auth/me", access)).status_code == 401
    assert (await door.get("/v1/auth/me", hers["access_token"])).status_code == 200


async def test_revocation_reaches_other_gateways_within_five_seconds(
    postgres_url: str, tmp_path: Path, clock: Clock
) -> None:
    """A session revoked at one gateway is believed by no other longer than identities are cached (R28)."""
    async with (
        running(postgres_url, nodes=False, secret_key=SECRET, mail={"outbox": tmp_path}) as here,
        running(postgres_url, nodes=False, secret_key=SECRET) as other,
    ):
        door = Door(here, await here.client(), tmp_path)
        there = await other.client()
        found = await (await door.register()).tokens()
        headers = {"Authorization": f"Bearer {found['access_token']}"}
        assert (await there.get("/v1/tasks", headers=headers)).status_code == 200
        assert (await door.post("logout", found["access_token"])).status_code == 204
        assert CACHE_SECONDS <= 5
        clock.now += CACHE_SECONDS + 0.001
        assert (await there.get("/v1/tasks", headers=headers)).status_code == 401


async def test_the_end_of_a_token_is_not_put_off_by_the_cache(
    door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An access token that ends in a second is believed for that second, not for the five of the cache."""
    token = (await (await door.register()).tokens())["access_token"]
    auth = AuthService(door.grid.database, AccessTokens(Keyring([SECRET.encode()]), 900))
    ends_at = datetime.fromtimestamp(jwt.get_unverified_claims(token)["exp"], UTC)
    monkeypatch.setattr(service, "now", lambda: ends_at - timedelta(seconds=1))
    await auth.identify(token)

    def expired(_: AccessTokens, __: str) -> Claims:
        raise Unauthenticated("expired")

    monkeypatch.setattr(AccessTokens, "read", expired)
    await auth.identify(token)
    clock.now += 1.001
    with pytest.raises(Unauthenticated):
        await auth.identify(token)


async def test_disabled_accounts_are_out(door: Door, clock: Clock) -> None:
    """Who is disabled neither goes on, nor refreshes, nor signs in, and is told nothing of why."""
    ada = await door.register()
    found = await ada.tokens()
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(User).values(disabled_at=now()))
    clock.now += CACHE_SECONDS + 0.001
    assert (await door.get("/v1/tasks", found["access_token"])).status_code == 401
    assert (await door.post("refresh", refresh_token=found["refresh_token"])).status_code == 401
    answer, unknown = await ada.sign_in(), await door.post("token", email="x@y.z", password=PASSWORD)
    assert (answer.status_code, answer.json()["detail"]) == (401, unknown.json()["detail"])


async def test_expired_sessions_are_over(door: Door, clock: Clock) -> None:
    """A session past its time ends, however busy it was; so does a refresh token that was not used."""
    ada = await door.register()
    old, idle = await ada.tokens(), await ada.tokens()
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(
            update(AuthSession).where(AuthSession.id == old["session_id"]).values(expires_at=now())
        )
        await transaction.execute(
            update(RefreshToken).where(RefreshToken.session_id == idle["session_id"]).values(expires_at=now())
        )
    clock.now += CACHE_SECONDS + 0.001
    assert (await door.get("/v1/tasks", old["access_token"])).status_code == 401
    for each in (old, idle):
        assert (await door.post("refresh", refresh_token=each["refresh_token"])).status_code == 401


async def test_sessions_are_bounded(start: Start) -> None:
    """Beyond so many sessions the ones unused the longest end."""
    grid = await start(secret_key=SECRET, auth={"max_sessions": 2})
    http = await grid.client()
    account = {"email": "a@b.c", "password": PASSWORD}
    await http.post("/v1/auth/register", json=account)
    found = [(await http.post("/v1/auth/token", json=account)).json() for _ in range(3)]
    codes = [
        (await http.post("/v1/auth/refresh", json={"refresh_token": each["refresh_token"]})).status_code
        for each in found
    ]
    assert codes == [401, 200, 200]


async def test_only_hashes_of_tokens_are_kept(door: Door) -> None:
    """The database has neither refresh nor access tokens."""
    found = await (await door.register()).tokens()
    rows = await door.grid.database.all(select(RefreshToken.hash))
    assert [row["hash"] for row in rows] == [tokens.digest(found["refresh_token"])]


async def test_last_use_is_written(door: Door) -> None:
    """A session that is used shows it."""
    found = await (await door.register()).tokens()
    auth = door.grid.auth
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(AuthSession).values(last_used_at=now() - timedelta(hours=1)))
    await auth.note_uses()
    auth._used.add(found["session_id"])
    await auth.note_uses()
    row = await door.grid.database.first(select(AuthSession.last_used_at))
    assert row is not None
    assert now() - row["last_used_at"] < timedelta(minutes=5)
