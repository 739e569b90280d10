"""Accounts elsewhere and accounts here: who may open what, and who has to say so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from neurogrid.auth.audit import Audit
from neurogrid.auth.invitations import Invitations
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.tables import AuditEntry, AuthSession, User
from neurogrid.core.ids import now
from tests.support.door import PASSWORD, SECRET, Door, Person
from tests.support.gateway import Start, running
from tests.support.openid import Browser, Rogue, rogue, settings

pytestmark = pytest.mark.asyncio
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ADA = "ada@example.org"
LINK = "Sign in by Rogue"


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Rogue]:
    """A provider that says of its user what a test wants."""
    async with rogue() as each:
        yield each


@pytest_asyncio.fixture
async def door(database_url: str, provider: Rogue, tmp_path: Path) -> AsyncIterator[Door]:
    """A gateway that knows it, with mails; the test runs once on each database."""
    outbox = tmp_path / "outbox"
    options = {**settings(rogue=provider.url), "mail": {"outbox": outbox}}
    async with running(database_url, nodes=False, secret_key=SECRET, **options) as grid:
        yield Door(grid, await grid.client(), outbox)


async def verified(door: Door, email: str = ADA) -> Person:
    """Return somebody with a password, whose address is proven."""
    await door.grid.auth.create_user(email, Role.USER, Tier.FREE, PASSWORD)
    return Person(door, email)


async def came(door: Door, provider: Rogue, **claims: Any) -> httpx.Response:
    """Come by the provider in a fresh browser."""
    provider.claims = {"email": ADA, **claims}
    return await (await Browser.of(door.grid)).sign_in("rogue")


async def actions(door: Door) -> list[str]:
    """Return what the audit log says, the oldest first; its chain is whole."""
    audit = Audit(door.grid.database)
    assert (await audit.verify()).problem is None
    rows = await door.grid.database.all(select(AuditEntry.action).order_by(AuditEntry.seq))
    return [row["action"] for row in rows]


@on_sqlite
async def test_an_address_opens_nothing(door: Door, provider: Rogue) -> None:
    """Whose address is that of an account is not let into it, though the provider vouches: it takes its password."""
    ada = await verified(door)
    answer = await came(door, provider, sub="eve")
    assert answer.status_code == 202
    needed = answer.json()
    assert set(needed) == {"ticket", "ways", "expires_in"}
    assert await actions(door) == ["user.created"], "nothing has happened"
    refused = await door.post("oauth/link", ticket=needed["ticket"], password="not the password")
    assert (refused.status_code, refused.json()["code"]) == (401, "wrong_credentials")
    assert (await came(door, provider, sub="eve")).status_code == 202, "still"
    linked = await door.post("oauth/link", ticket=needed["ticket"], password=PASSWORD)
    assert linked.status_code == 200, linked.text
    me = await door.get("/v1/auth/me", linked.json()["access_token"])
    assert me.json()["email"] == ada.email
    await door.mailed(ADA, "You can sign in by Rogue now")
    assert (await came(door, provider, sub="eve")).status_code == 200
    assert (await came(door, provider, sub="another")).status_code == 202, (
        "the same address again, another account"
    )
    again = await door.post("oauth/link", ticket=needed["ticket"], password=PASSWORD)
    assert (again.status_code, again.json()["code"]) == (409, "identity_taken")
    assert [each for each in await actions(door) if each != "session.began"] == [
        "user.created", "sign_in.failed", "identity.linked",
    ]  # fmt: skip


@on_sqlite
async def test_by_being_signed_in(door: Door, provider: Rogue) -> None:
    """Who is signed in to the very account links by the ticket; nobody else does, and no API key."""
    ada, eve = await verified(door), await verified(door, "eve@example.org")
    ticket = (await came(door, provider)).json()["ticket"]
    token = (await ada.tokens())["access_token"]
    key = await door.grid.auth.create_key(ADA, "k")
    for bearer, given, status in (
        ((await eve.tokens())["access_token"], ticket, 400),
        (key, ticket, 403),
        (token, ticket[:-5] + "AAAAA", 400),
        (token, "", 400),
        (token, ticket, 201),
        (token, ticket, 409),
    ):
        answer = await door.post("oauth/identities", bearer, ticket=given)
        assert answer.status_code == status, answer.text
    assert (await came(door, provider)).status_code == 200


@on_sqlite
async def test_linking_takes_the_owner(door: Door, provider: Rogue) -> None:
    """An API key links and unlinks nothing, nor does a session whose owner was last seen a while ago."""
    ada = await verified(door)
    ticket = (await came(door, provider)).json()["ticket"]
    token = (await ada.tokens())["access_token"]
    answer = await door.post("oauth/identities", token, ticket=ticket)
    id = answer.json()["id"]
    key = await door.grid.auth.create_key(ADA, "k")
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(AuthSession).values(authenticated_at=now() - timedelta(hours=1)))
    for bearer, code in ((key, "session_required"), (token, "step_up_required")):
        headers = {"Authorization": f"Bearer {bearer}"}
        for method, path in (("POST", "rogue/link"), ("POST", "identities"), ("DELETE", f"identities/{id}")):
            body = {"ticket": ticket} if path == "identities" else None
            answer = await door.http.request(method, f"/v1/auth/oauth/{path}", json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, code), path
            assert "set-cookie" not in answer.headers


async def test_by_mail(door: Door, provider: Rogue) -> None:
    """The token of the mail opens the account to who has the ticket as well, once, and to nobody else."""
    await verified(door)
    await verified(door, "eve@example.org")
    mine, other = [(await came(door, provider, sub=sub)).json()["ticket"] for sub in ("ada", "eve")]
    foreign = (await came(door, provider, sub="3", email="eve@example.org")).json()["ticket"]
    assert (await door.post("oauth/link/mail", ticket=mine)).status_code == 202
    token = await door.mailed(ADA, LINK)
    for body in (
        {"ticket": foreign, "token": token},
        {"ticket": mine, "token": token[:-1] + ("0" if token[-1] != "0" else "1")},
        {"ticket": "x", "token": token},
    ):
        answer = await door.post("oauth/link", **body)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_token"), body
    for body in ({"ticket": mine}, {"ticket": mine, "token": token, "password": PASSWORD}):
        assert (await door.post("oauth/link", **body)).status_code == 422
    assert (await door.post("oauth/link", ticket=mine, token=token)).status_code == 200
    again = await door.post("oauth/link", ticket=other, token=token)
    assert (again.status_code, again.json()["code"]) == (400, "bad_token"), "once"
    assert (await came(door, provider, sub="ada")).status_code == 200


@on_sqlite
async def test_an_account_made_in_somebodys_name(door: Door, provider: Rogue) -> None:
    """Who registered another's address and waits has nothing of the account once its owner comes by mail."""
    eve = await door.register(ADA)
    tokens = await eve.tokens()
    bearer = tokens["access_token"]
    key = (
        await door.http.post("/v1/keys", json={"name": "k"}, headers={"Authorization": f"Bearer {bearer}"})
    ).json()["key"]
    begun = await door.http.post("/v1/auth/oauth/rogue/link", headers={"Authorization": f"Bearer {bearer}"})
    assert begun.status_code == 200, begun.text
    hers = Browser(door.grid, door.http, {"ng_flow": begun.cookies["ng_flow"]})
    provider.claims = {"sub": "eve", "email": "eve@example.org"}
    asked = dict(httpx.URL(begun.json()["authorization_url"]).params)
    linked = await hers.come_back("rogue", code=asked["nonce"], state=asked["state"])
    assert linked.status_code == 200, linked.text
    ticket = (await came(door, provider, sub="ada")).json()["ticket"]
    await door.post("oauth/link/mail", ticket=ticket)
    answer = await door.post("oauth/link", ticket=ticket, token=await door.mailed(ADA, LINK))
    assert answer.status_code == 200, answer.text
    ada = answer.json()["access_token"]
    assert (await door.get("/v1/auth/me", ada)).json()["email_verified"] is True
    assert (await door.get("/v1/auth/me", bearer)).status_code == 401, "her session"
    assert (await door.get("/v1/auth/me", key)).status_code == 401, "her key"
    assert (await eve.sign_in()).status_code == 401, "her password"
    assert (await door.post("refresh", refresh_token=tokens["refresh_token"])).status_code == 401
    back = await came(door, provider, sub="eve", email="eve@example.org")
    them = (await door.get("/v1/auth/me", back.json()["access_token"])).json()
    assert them["email"] == "eve@example.org", "her account elsewhere leads to one of her own"


@on_sqlite
async def test_a_second_factor_is_asked_for(door: Door, provider: Rogue) -> None:
    """A provider is one factor: an account with two takes the other as well, also before anything is linked."""
    ada = await verified(door)
    bearer = (await ada.tokens())["access_token"]
    secret = (await door.post("2fa/totp", bearer)).json()["secret"]
    code = pyotp.TOTP(secret)
    confirmed = await door.post("2fa/totp/confirm", bearer, code=code.now())
    assert confirmed.status_code == 200, confirmed.text
    recovery = confirmed.json()["recovery_codes"]
    ticket = (await came(door, provider)).json()["ticket"]
    pending = await door.post("oauth/link", ticket=ticket, password=PASSWORD)
    assert (pending.status_code, "access_token" in pending.json()) == (202, False)
    assert (await came(door, provider)).json()["ways"], "nothing is linked yet"
    done = await door.post("2fa/sign-in", ticket=pending.json()["ticket"], code=recovery[0])
    assert done.status_code == 200, done.text
    linked = await door.post("oauth/identities", done.json()["access_token"], ticket=ticket)
    assert linked.status_code == 201, linked.text
    browser = await Browser.of(door.grid)
    asked = await browser.begin("rogue", next="/app")
    query = {"code": asked["nonce"], "state": asked["state"]}
    back = await browser.ask("GET", "/v1/auth/oauth/rogue/callback", params=query)
    assert "ng_access" not in browser.jar
    url = httpx.URL(back.headers["location"])
    assert url.path == "/app"
    more = dict(httpx.QueryParams(url.fragment))
    assert "totp" in more["second_factors"].split(",")
    done = await door.post("2fa/sign-in", ticket=more["ticket"], code=recovery[1])
    assert done.status_code == 200, done.text
    sessions = (await door.get("/v1/auth/sessions", done.json()["access_token"])).json()["data"]
    assert {"oauth:rogue", "recovery_code"} in [set(each["methods"]) for each in sessions]


async def test_linking_from_within(door: Door, provider: Rogue) -> None:
    """Who is signed in links another account, with another address, and unlinks it; the last way in stays."""
    provider.claims = {"email": "work@example.org"}
    ada = await Browser.of(door.grid)
    first = await ada.sign_in("rogue", next="/")
    bearer = {"Authorization": f"Bearer {first.json()['access_token']}"}
    begun = await ada.ask("POST", "/v1/auth/oauth/rogue/link?next=/settings", headers=bearer)
    asked = dict(httpx.URL(begun.json()["authorization_url"]).params)
    provider.claims = {"sub": "rogue-2", "email": "home@example.org"}
    query = {"code": asked["nonce"], "state": asked["state"]}
    back = await ada.ask("GET", "/v1/auth/oauth/rogue/callback", params=query)
    assert back.headers["location"].endswith("/settings")
    listed = (await ada.ask("GET", "/v1/auth/oauth/identities", headers=bearer)).json()["data"]
    assert [each["email"] for each in listed] == ["work@example.org", "home@example.org"]
    one, two = (each["id"] for each in listed)
    gone = await ada.ask("DELETE", f"/v1/auth/oauth/identities/{one}", headers=bearer)
    assert gone.status_code == 204, gone.text
    last = await ada.ask("DELETE", f"/v1/auth/oauth/identities/{two}", headers=bearer)
    assert (last.status_code, last.json()["code"]) == (409, "last_way_in")
    assert (await ada.sign_in("rogue")).status_code == 200, "by the one that is left"
    assert {"identity.linked", "identity.unlinked"} <= set(await actions(door))


@on_sqlite
async def test_linking_takes_the_session_that_began_it(door: Door, provider: Rogue) -> None:
    """Signed out meanwhile, or locked, nobody links; nor does an account that is somebody's already, or unconfirmed."""
    ada = await verified(door)
    assert (await came(door, provider, sub="taken", email="t@example.org")).status_code == 200

    async def link(**claims: Any) -> tuple[Browser, dict[str, str], str]:
        bearer = (await ada.tokens())["access_token"]
        browser = await Browser.of(door.grid)
        headers = {"Authorization": f"Bearer {bearer}"}
        begun = await browser.ask("POST", "/v1/auth/oauth/rogue/link", headers=headers)
        asked = dict(httpx.URL(begun.json()["authorization_url"]).params)
        provider.claims = {"email": "x@example.org", **claims}
        return browser, {"code": asked["nonce"], "state": asked["state"]}, bearer

    for claims, status, code in (
        ({"sub": "taken"}, 409, "identity_taken"),
        ({"sub": "2", "email_verified": False}, 403, "provider_email_unverified"),
    ):
        browser, query, bearer = await link(**claims)
        answer = await browser.come_back("rogue", **query)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    browser, query, bearer = await link(sub="3")
    assert (await door.post("logout", bearer)).status_code == 204
    assert (await browser.come_back("rogue", **query)).status_code == 401
    stale = (await came(door, provider)).json()["ticket"]
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(User).values(disabled_at=now()))
    assert (await came(door, provider)).status_code == 403, "locked, whose address that is"
    assert (await came(door, provider, sub="taken")).status_code == 403, "locked, whose account that is"
    assert (await door.post("oauth/link", ticket=stale, password=PASSWORD)).status_code == 400


async def test_registration(start: Start, provider: Rogue) -> None:
    """By a provider an account is made where registering makes one: for anybody, by invitation, or for nobody."""
    for registration, code in (("closed", "registration_closed"), ("invitation", "invitation_required")):
        options = {**settings(rogue=provider.url), "auth": {"registration": registration}}
        grid = await start(nodes=False, secret_key=SECRET, **options)
        browser = await Browser.of(grid)
        answer = await browser.sign_in("rogue")
        assert (answer.status_code, answer.json()["code"]) == (403, code)
        if registration == "invitation":
            invitation = await Invitations(grid.database).make(
                ADA, Role.OPERATOR, Tier.PRO, timedelta(hours=1)
            )
            provider.claims = {"email": "eve@example.org", "sub": "eve"}
            answer = await browser.sign_in("rogue", invitation=invitation)
            assert answer.json()["code"] == "invitation_required", "made for another address"
            provider.claims = {}
            answer = await browser.sign_in("rogue", invitation=invitation)
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            me = (await browser.ask("GET", "/v1/auth/me", headers=bearer)).json()
            assert (me["role"], me["tier"]) == ("operator", "pro")
