"""Keys: who is let in, and how soon no longer."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import Executable, select, update

from neurogrid.auth import tokens
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.service import CACHE_SECONDS, AuthService
from neurogrid.auth.tables import ApiKey, User
from neurogrid.core.errors import Conflict, Invalid, NotFound, Unauthenticated
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row
from tests.support.door import Clock
from tests.support.gateway import Account, RunningGateway
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def key_id(grid: RunningGateway, key: str) -> str:
    row = await grid.database.first(select(ApiKey.id).where(ApiKey.hash == tokens.digest(key)))
    assert row is not None
    return str(row["id"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer ng_x"},
        {"Authorization": "Bearer " + "x" * 6000},
        {"Authorization": "Bearer ng_" + "é" * 38},
        {"Authorization": "Basic bmc6bmc="},
        {"Authorization": "bearer\tx"},
        {"X-API-Key": ""},
        {"X-API-Key": "' OR 1=1 --"},
        {"X-API-Key": "None"},
    ],
    ids=repr,
)
async def test_malformed_keys_are_401(sqlite_grid: RunningGateway, headers: dict[str, str]) -> None:
    """What cannot be a key is 401 with a challenge, and is not repeated in the answer."""
    client = await sqlite_grid.client()
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = await client.get("/v1/tasks", headers=sent)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    for value in headers.values():
        assert not value.strip() or len(value) < 10 or value.split(" ")[-1] not in answer.text


async def test_only_the_very_key_is_let_in(grid: RunningGateway, ada: Account) -> None:
    """A key opens in either header; unknown ones, and it with anything changed, do not."""
    client = await grid.client()
    for headers in ({"Authorization": f"bearer {ada.key}"}, {"X-API-Key": ada.key}):
        assert (await client.get("/v1/tasks", headers=headers)).status_code == 200
    node_token = tokens.make(tokens.NODE_TOKEN).text
    swapped = ada.key.swapcase().replace("NG_", "ng_")
    for key in (
        tokens.make(tokens.API_KEY).text,
        ada.key[:-1],
        ada.key + "x",
        swapped,
        node_token,
        tokens.digest(ada.key),
    ):
        answer = await client.get("/v1/tasks", headers={"X-API-Key": key})
        assert answer.status_code == 401
        assert key not in answer.text


async def test_a_wrong_bearer_is_not_saved_by_another_header(grid: RunningGateway, ada: Account) -> None:
    """`Authorization` counts when there is one: two credentials are never mixed."""
    client = await grid.client(tokens.make(tokens.API_KEY).text)
    assert (await client.get("/v1/tasks", headers={"X-API-Key": ada.key})).status_code == 401


async def test_revocation_holds_within_five_seconds(grid: RunningGateway, ada: Account, clock: Clock) -> None:
    """A key revoked elsewhere works no longer than an identity is cached, which is at most 5 s (R28)."""
    assert CACHE_SECONDS <= 5
    assert (await ada.http.get("/v1/tasks")).status_code == 200
    await grid.auth.revoke_key(await key_id(grid, ada.key))
    clock.now += CACHE_SECONDS + 0.001
    assert (await ada.http.get("/v1/tasks")).status_code == 401


async def test_revocation_here_holds_at_once(grid: RunningGateway, ada: Account) -> None:
    """The process that revokes a key believes it not one request longer."""
    await grid.auth.identify(ada.key)
    await grid.auth.revoke_key(await key_id(grid, ada.key))
    with pytest.raises(Unauthenticated):
        await grid.auth.identify(ada.key)


async def test_expiry_and_disabled_accounts(grid: RunningGateway, ada: Account, clock: Clock) -> None:
    """A key past its time, and every key of a disabled account, is worth nothing."""
    bob = await grid.account(lifetime=timedelta(seconds=-1))
    assert (await bob.http.get("/v1/tasks")).status_code == 401
    assert (await ada.http.get("/v1/tasks")).status_code == 200
    async with grid.database.transaction() as transaction:
        await transaction.execute(update(User).where(User.id == ada.id).values(disabled_at=now()))
    clock.now += CACHE_SECONDS + 0.001
    assert (await ada.http.get("/v1/tasks")).status_code == 401


async def test_an_identity_follows_its_role(grid: RunningGateway, ada: Account, clock: Clock) -> None:
    """A role taken away is gone within the same 5 s."""
    operator = await grid.account(Role.OPERATOR)
    assert (await operator.http.get("/v1/nodes")).status_code == 200
    async with grid.database.transaction() as transaction:
        await transaction.execute(update(User).where(User.id == operator.id).values(role=Role.USER.value))
    clock.now += CACHE_SECONDS + 0.001
    assert (await operator.http.get("/v1/nodes")).status_code == 403
    assert (await ada.http.get("/v1/nodes")).status_code == 403


async def test_a_load_that_a_revocation_overtook_is_not_believed(
    grid: RunningGateway, ada: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An identity read before an invalidation does not enter the cache after it (R28)."""
    id = await key_id(grid, ada.key)
    read = grid.database.first

    async def overtaken(statement: Executable) -> Row | None:
        row = await read(statement)
        await grid.auth.revoke_key(id)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(grid.database, "first", overtaken)
        await grid.auth.identify(ada.key)
    with pytest.raises(Unauthenticated):
        await grid.auth.identify(ada.key)


async def test_only_hashes_are_kept(grid: RunningGateway, ada: Account) -> None:
    """Neither key nor password can be read from the database."""
    await grid.auth.create_user("bob@example.org", Role.USER, Tier.FREE, "correct horse battery")
    keys = await grid.database.all(select(ApiKey.prefix, ApiKey.hash))
    users = await grid.database.all(select(User.password_hash).where(User.email == "bob@example.org"))
    assert {row["hash"] for row in keys} == {tokens.digest(ada.key)}
    assert all(len(row["prefix"]) <= 12 for row in keys)
    assert str(users[0]["password_hash"]).startswith("$argon2id$")


async def test_accounts_are_unique_and_sane(grid: RunningGateway) -> None:
    """One account per address, whatever its case; what is no address, or too short a password, is refused."""
    auth = grid.auth
    await auth.create_user("Bob@Example.org", Role.USER, Tier.FREE, None)
    with pytest.raises(Conflict):
        await auth.create_user(" bob@example.ORG", Role.USER, Tier.FREE, None)
    assert (await auth.create_key("BOB@example.org", "k")).startswith("ng_")
    with pytest.raises(NotFound):
        await auth.create_key("nobody@example.org", "k")
    for address in ("", "bob", "a b@c", "a@b\r\nBcc: x@y", "<a@b>", "x" * 251 + "@b.c", "a@b\x00"):
        with pytest.raises(Invalid):
            await auth.create_user(address, Role.USER, Tier.FREE, None)
    with pytest.raises(Invalid):
        await auth.create_user("carol@example.org", Role.USER, Tier.FREE, "short")


async def test_recheck_tells_who_still_holds(grid: RunningGateway, ada: Account, eve: Account) -> None:
    """Open sockets are asked about in one query, and the revoked are not among the answers."""
    identities = [await grid.auth.identify(account.key) for account in (ada, eve)]
    await grid.auth.revoke_key(await key_id(grid, ada.key))
    assert await grid.auth.recheck(identities) == {identities[1]}
    assert await grid.auth.recheck([]) == set()


async def test_many_bad_keys_leave_nothing_behind(sqlite_grid: RunningGateway) -> None:
    """Unknown keys are not remembered, so they cannot fill the memory or push out the known."""
    auth = AuthService(sqlite_grid.database)
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await auth.identify(tokens.make(tokens.API_KEY).text)
    assert not auth._known


async def test_health_needs_no_key(sqlite_grid: RunningGateway) -> None:
    """Probes and scrapers have no key."""
    client = await sqlite_grid.client()

    async def ready() -> bool:
        return (await client.get("/health/ready")).status_code == httpx.codes.OK

    await until(ready)
    assert (await client.get("/health/live")).json() == {"status": "ok"}
    assert "python_info" in (await client.get("/metrics")).text
