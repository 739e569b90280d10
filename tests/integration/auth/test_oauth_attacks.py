"""Providers that lie, hang and lead astray, and browsers that other people have sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import Response
from sqlalchemy import func, select

from neurogrid.auth.oauth import metadata
from neurogrid.auth.oauth.providers import providers_of
from neurogrid.auth.tables import AuthSession, OAuthIdentity, OneTimeToken, User
from neurogrid.core import egress
from neurogrid.core.errors import ProviderUnavailable
from neurogrid.core.settings_egress import EgressSettings
from neurogrid.core.settings_oauth import OAuthSettings
from tests.support.door import SECRET
from tests.support.gateway import RunningGateway, running
from tests.support.openid import CLIENT, JSON, PUBLIC, Browser, Rogue, rogue, settings
from tests.support.signing import pem, public_pem, published, rsa_key, sign, unsigned

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Rogue]:
    """A provider that can lie."""
    async with rogue() as each:
        yield each


@pytest_asyncio.fixture
async def grid(provider: Rogue, sqlite_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway that knows it as ``rogue``, and another provider as ``other``, whose keys it knows already."""
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(rogue())
        options = settings(rogue=provider.url, other=other.url)
        options["egress"] = {"timeout": 5}
        yield await stack.enter_async_context(running(sqlite_url, nodes=False, secret_key=SECRET, **options))


async def nobody_came(grid: RunningGateway) -> bool:
    """Tell whether there is neither account nor session nor link."""
    counts = [
        await grid.database.first(select(func.count().label("n")).select_from(t))
        for t in (User, AuthSession, OAuthIdentity)
    ]
    return [row and row["n"] for row in counts] == [0, 0, 0]


def refused(answer: httpx.Response, status: int, code: str) -> bool:
    """Tell whether that is how it was refused; no cookie of a session came along."""
    cookies = " ".join(answer.headers.get_list("set-cookie"))
    assert "ng_access" not in cookies
    return (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_rogue_can_be_honest(grid: RunningGateway, provider: Rogue) -> None:
    """What the attacks are measured against: without a lie its user gets in, and the secret travels as it should."""
    eve = await Browser.of(grid)
    answer = await eve.sign_in("rogue")
    assert answer.status_code == 200, answer.text
    asked = next(form for path, form in provider.asked if path == "/token")
    assert asked["authorization"] == httpx.BasicAuth("the-grid", "hush%3Ahush")._auth_header
    assert asked["redirect_uri"] == f"{PUBLIC}/v1/auth/oauth/rogue/callback"
    assert len(asked["code_verifier"]) >= 43
    assert "client_secret" not in asked


FORGERIES: dict[str, dict[str, Any]] = {
    "not signed": {"token": lambda claims: unsigned(claims, {"alg": "none"})},
    "by another key": {"token": lambda claims: sign(claims, pem(rsa_key(1)))},
    "by the public key as a secret": {
        "token": lambda claims: unsigned(
            claims,
            {"alg": "HS256", "kid": "k1"},
            public_pem(rsa_key())[30:73].replace("/", "_").replace("+", "-").replace("\n", "a"),
        )
    },
    "no ID token": {"token": lambda _: ""},
    "for another client": {"claims": {"aud": "somebody-else"}},
    "for several": {"claims": {"aud": [CLIENT, "somebody-else"]}},
    "of another issuer": {"claims": {"iss": "https://accounts.google.com"}},
    "of another sign-in": {"claims": {"nonce": "another"}},
    "expired": {"claims": {"exp": 1_700_000_000}},
    "old": {"claims": {"iat": 1_700_000_000}},
    "subject of no form": {"claims": {"sub": ""}},
    "userinfo of somebody else": {
        "claims": {"email": None},
        "user": {"sub": "x", "email": "a@b.c", "email_verified": True},
    },
}


async def test_forged_id_tokens(grid: RunningGateway, provider: Rogue) -> None:
    """No lie of a provider signs anybody in: 400, whatever the lie, and nothing is left of it."""
    honest = {"claims": {}, "token": sign, "user": {}}
    for name, lie in FORGERIES.items():
        for knob, value in {**honest, **lie}.items():
            setattr(provider, knob, value)
        eve = await Browser.of(grid)
        assert refused(await eve.sign_in("rogue"), 400, "oauth_answer_invalid"), name
    assert await nobody_came(grid)


async def test_addresses_that_nobody_vouches_for(grid: RunningGateway, provider: Rogue) -> None:
    """Whatever is not plainly a confirmed address makes no account."""
    for claims in (
        {"email_verified": False}, {"email_verified": None}, {"email_verified": "yes"}, {"email_verified": 1},
        {"email_verified": "false"}, {"email": "no address"}, {"email": 7}, {"email": "a@b\x00"}, {"email": ["a@b.c"]},
    ):  # fmt: skip
        provider.claims = claims
        eve = await Browser.of(grid)
        assert refused(await eve.sign_in("rogue"), 403, "provider_email_unverified"), claims
    assert await nobody_came(grid)


async def test_states(grid: RunningGateway, provider: Rogue) -> None:
    """An answer counts once, in the browser that asked, from the provider that was asked."""
    ada, eve = await Browser.of(grid), await Browser.of(grid)
    asked = await ada.begin("rogue")
    good = {"code": asked["nonce"], "state": asked["state"]}
    carried = dict(ada.jar)

    async def back(browser: Browser, name: str = "rogue", **query: str) -> bool:
        answer = await browser.come_back(name, **query)
        assert str(PUBLIC) in answer.json()["detail"]
        return refused(answer, 400, "oauth_state_invalid")

    assert await back(eve, **good), "no browser that asked"
    await eve.begin("rogue")
    assert await back(eve, **good), "another browser (a sign-in that was begun for somebody else)"
    assert await back(ada, "other", **good), "another provider than was asked (mix-up)"
    for state in ("", asked["state"][:-1], asked["state"] + "x", "é"):
        assert await back(ada, code="x", state=state), state
    assert await back(ada, code=asked["nonce"]), "no state at all"
    changed = {"ng_flow": carried["ng_flow"][:-4] + "AAAA"}
    assert await back(Browser(grid, ada.http, changed), **good), "a cookie that was changed"
    assert provider.count("/token") == 0, "the provider was not asked for any of them"
    assert (await ada.come_back("rogue", **good)).status_code == 200
    assert "ng_flow" not in ada.jar
    assert await back(Browser(grid, ada.http, carried), **good), "the same answer again"
    assert provider.count("/token") == 1


async def test_a_state_is_spent_for_all_gateways(provider: Rogue, database_url: str) -> None:
    """Of the same answer given to two gateways at once, many times, one counts."""
    async with AsyncExitStack() as stack:
        gateways = 1 if database_url.startswith("sqlite") else 2
        browsers = []
        for _ in range(gateways):
            options = settings(rogue=provider.url)
            gateway = running(database_url, nodes=False, secret_key=SECRET, **options)
            browsers.append(await Browser.of(await stack.enter_async_context(gateway)))
        asked = await browsers[0].begin("rogue")
        for browser in browsers:
            browser.jar = browsers[0].jar
        answers = await asyncio.gather(
            *(
                Browser(browser.grid, browser.http, dict(browser.jar)).come_back(
                    "rogue", code=asked["nonce"], state=asked["state"]
                )
                for browser in browsers * 4
            )
        )
        assert sorted(answer.status_code for answer in answers)[:2] == [200, 400]
        assert provider.count("/token") == 1
        rows = await browsers[0].grid.database.all(select(OneTimeToken.purpose, OneTimeToken.hash))
        assert [row["purpose"] for row in rows] == ["oauth-state"]
        assert asked["state"] not in str(rows)


async def test_an_answer_too_late(grid: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten minutes the cookie is worth nothing, though the browser kept it."""
    from neurogrid.auth.oauth import flows

    monkeypatch.setattr(flows, "LIFETIME", 0)
    eve = await Browser.of(grid)
    assert refused(await eve.sign_in("rogue"), 400, "oauth_state_invalid")


async def test_who_has_answered(grid: RunningGateway, provider: Rogue) -> None:
    """An answer that names its issuer names the right one (RFC 9207), and one that has to, does."""
    for iss, promised, fine in (
        ("https://evil.example", False, False),
        (f"{provider.url}/", False, False),
        (provider.url, False, True),
    ):
        provider.document = {"authorization_response_iss_parameter_supported": promised}
        eve = await Browser.of(grid)
        asked = await eve.begin("rogue")
        answer = await eve.come_back("rogue", code=asked["nonce"], state=asked["state"], iss=iss)
        assert answer.status_code == (200 if fine else 400), answer.text
        assert fine or answer.json()["code"] == "oauth_answer_invalid"


async def test_who_promised_to_name_itself(provider: Rogue, sqlite_url: str) -> None:
    """Of a provider that says it names itself, an answer without a name is somebody else's."""
    provider.document = {"authorization_response_iss_parameter_supported": True}
    async with running(sqlite_url, nodes=False, secret_key=SECRET, **settings(rogue=provider.url)) as grid:
        eve = await Browser.of(grid)
        assert refused(await eve.sign_in("rogue"), 400, "oauth_answer_invalid")
        assert provider.count("/token") == 0


async def test_answers_of_no_form(grid: RunningGateway, provider: Rogue) -> None:
    """Errors of the provider, parameters given twice or too long, and answers without code are told apart, never 500."""
    for query, status, code in (
        ({"error": "access_denied"}, 403, "oauth_denied"),
        ({"error": "server_error"}, 502, "provider_unavailable"),
        ({"error": "<script>", "code": "x"}, 502, "provider_unavailable"),
        ({}, 400, "oauth_answer_invalid"),
        ({"code": "x" * 5000}, 422, "invalid"),
        ({"code": ["x", "y"]}, 400, "bad_request"),
    ):
        eve = await Browser.of(grid)
        asked = await eve.begin("rogue")
        answer = await eve.come_back("rogue", state=asked["state"], **query)
        assert refused(answer, status, code), query
        assert "<script>" not in answer.text
    assert provider.count("/token") == 0
    eve = await Browser.of(grid)
    assert (await eve.get("/v1/auth/oauth/nobody/start")).status_code == 404
    assert (await eve.get("/v1/auth/oauth/nobody/callback?code=1&state=2")).status_code == 404


async def test_where_browsers_are_sent(grid: RunningGateway) -> None:
    """Nobody is sent to another host by us, at the beginning or at the end, whatever the request calls us."""
    eve = await Browser.of(grid)
    for path in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/%09/evil",
        "/a%0d%0aSet-Cookie:x=1",
        "/%5cevil.example",
    ):
        answer = await eve.get(f"/v1/auth/oauth/rogue/start?next={path}")
        assert refused(answer, 422, "invalid"), path
        assert answer.json()["errors"][0]["field"] == "next"
    asked = await eve.begin("rogue", next="/a//b?c=//evil.example")
    headers = {"Accept": "text/html", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    query = {"code": asked["nonce"], "state": asked["state"]}
    answer = await eve.ask("GET", "/v1/auth/oauth/rogue/callback", params=query, headers=headers)
    assert answer.headers["location"] == f"{PUBLIC}/a//b?c=//evil.example"


async def test_cookies_of_a_flow(grid: RunningGateway) -> None:
    """Elsewhere than on this machine the flow is in a secure cookie of this host alone, that scripts cannot read."""
    eve = await Browser.of(grid)
    answer = await eve.get("/v1/auth/oauth/rogue/start", Host="grid.example")
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-ng_flow=")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax", "Max-Age=600"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert answer.headers["cache-control"] == "no-store"
    planted = {"ng_flow": eve.jar["__Host-ng_flow"]}
    asked = dict(httpx.URL(answer.headers["location"]).params)
    answer = await Browser(grid, eve.http, planted).ask(
        "GET", "/v1/auth/oauth/rogue/callback", headers={**JSON, "Host": "grid.example"},
        params={"code": asked["nonce"], "state": asked["state"]},
    )  # fmt: skip
    assert refused(answer, 400, "oauth_state_invalid"), (
        "a name without prefix may have been planted by a neighbour"
    )


def _moved(_path: str) -> Response:
    return Response(status_code=302, headers={"Location": "http://169.254.169.254/latest/meta-data"})


BROKEN: dict[str, Any] = {
    "leads to the metadata service": _moved,
    "500": lambda _: Response("oops", 500),
    "no JSON": lambda _: Response("<html>"),
    "a list": lambda _: Response("[]"),
    "deep": lambda _: Response("[" * 100_000),
    "large": lambda _: Response(b"x" * 10_000_000),
    "empty": lambda _: Response(""),
    "wrong secret": lambda _: Response('{"error": "invalid_client"}', 401),
    "no token": lambda _: Response('{"token_type": "Bearer"}'),
    "token of no form": lambda _: Response('{"access_token": "\u00e9", "id_token": "x"}'),
}


async def test_broken_providers(grid: RunningGateway, provider: Rogue) -> None:
    """A provider that is down or leads astray is a clear 502 at the token endpoint, soon, and never a 500."""
    for name, broken in BROKEN.items():
        provider.answer = lambda path, broken=broken: broken(path) if path == "/token" else None  # type: ignore[misc]
        eve = await Browser.of(grid)
        answer = await eve.sign_in("rogue")
        assert refused(answer, 502, "provider_unavailable"), name
        assert answer.json()["detail"].startswith("Rogue does not answer")
    assert await nobody_came(grid)


async def test_descriptions_that_lie(provider: Rogue) -> None:
    """A description of another issuer, or with what is no URL, is not believed; nor is it fetched for everybody."""
    known = providers_of(OAuthSettings.model_validate(settings(rogue=provider.url)["oauth"]))["rogue"]
    way_out = egress.Egress(EgressSettings())
    for document in (
        {"issuer": "https://accounts.google.com"},
        {"token_endpoint": "ftp://127.0.0.1/"},
        {"token_endpoint": None},
        {"jwks_uri": 7},
        {"authorization_endpoint": "javascript:alert(1)"},
    ):
        provider.document, provider.asked = document, []
        described = metadata.Metadata(known, way_out)
        for _ in range(3):
            with pytest.raises(ProviderUnavailable):
                await described.endpoints()
        assert provider.count("/.well-known/openid-configuration") == 1, "a failure is kept for a moment"
    await way_out.close()


async def test_endpoints_that_are_not_to_be_asked(provider: Rogue, sqlite_url: str) -> None:
    """A description that names the metadata service, or a private host where that is not allowed, gets nothing out."""
    provider.document = {"token_endpoint": "http://169.254.169.254/latest/api/token"}
    async with running(sqlite_url, nodes=False, secret_key=SECRET, **settings(rogue=provider.url)) as grid:
        eve = await Browser.of(grid)
        assert refused(await eve.sign_in("rogue"), 502, "provider_unavailable")
    options = settings(rogue="https://127.0.0.1:1")
    options["oauth"]["providers"]["rogue"]["private"] = False
    async with running(sqlite_url, nodes=False, secret_key=SECRET, **options) as grid:
        eve = await Browser.of(grid)
        assert refused(await eve.get("/v1/auth/oauth/rogue/start"), 502, "provider_unavailable")


async def test_a_provider_that_hangs(provider: Rogue, sqlite_url: str) -> None:
    """Nobody waits longer than the time-out, and who comes meanwhile is told at once."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # connections wait in its queue for ever
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        options = {**settings(rogue=url), "egress": {"timeout": 0.2}}
        async with running(sqlite_url, nodes=False, secret_key=SECRET, **options) as grid:
            eve = await Browser.of(grid)
            answers = await asyncio.gather(*(eve.get("/v1/auth/oauth/rogue/start") for _ in range(20)))
            assert all(refused(answer, 502, "provider_unavailable") for answer in answers)


async def test_keys_rotate(grid: RunningGateway, provider: Rogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is new is fetched once it is met; names that are made up cause no more requests than that."""
    eve = await Browser.of(grid)
    assert (await eve.sign_in("rogue")).status_code == 200
    provider.keys = [published(rsa_key(1), "k2")]
    provider.token = lambda claims: sign(claims, pem(rsa_key(1)), kid="k2")
    assert refused(await eve.sign_in("rogue"), 400, "oauth_answer_invalid"), "just fetched"
    assert provider.count("/keys") == 1
    monkeypatch.setattr(metadata, "REFETCHED", 0.0)
    assert (await eve.sign_in("rogue")).status_code == 200
    assert provider.count("/keys") == 2
    monkeypatch.setattr(metadata, "REFETCHED", 60.0)
    provider.token = lambda claims: sign(claims, pem(rsa_key(1)), kid="made-up")
    for _ in range(3):
        assert refused(await eve.sign_in("rogue"), 400, "oauth_answer_invalid")
    assert provider.count("/keys") == 2


async def test_plain_oauth2(provider: Rogue, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Discord's way: no ID token, the user endpoint says who it is; a number is a name, and only `verified` vouches."""
    options = settings(discord="https://discord.com")
    options["oauth"]["providers"]["discord"] = {
        "client_id": CLIENT, "private": True, "authorization_endpoint": f"{provider.url}/authorize",
        "token_endpoint": f"{provider.url}/token", "userinfo_endpoint": f"{provider.url}/userinfo",
    }  # fmt: skip
    provider.answer = lambda path: Response('{"access_token": "at"}') if path == "/token" else None
    async with running(sqlite_url, nodes=False, secret_key=SECRET, **options) as grid:
        for user, status in (
            ({"id": "80351110224678912", "email": "nelly@example.org", "verified": True}, 200),
            ({"id": 80351110224678912, "email": "nelly@example.org", "verified": False}, 200),  # known by now
            ({"id": "2", "email": "eve@example.org", "verified": False, "email_verified": True}, 403),
            ({"id": "3", "email": None, "verified": True}, 403),
            ({"sub": "80351110224678912", "email": "nelly@example.org", "verified": True}, 502),
            ({"id": True, "email": "x@example.org", "verified": True}, 502),
        ):
            provider.user = user
            nelly = await Browser.of(grid)
            asked = await nelly.begin("discord")
            assert "nonce" not in asked
            assert asked["scope"] == "identify email"
            answer = await nelly.come_back("discord", code="c", state=asked["state"])
            assert answer.status_code == status, (user, answer.text)
        bearer = [form["authorization"] for path, form in provider.asked if path == "/userinfo"]
        assert set(bearer) == {"Bearer at"}
        public = [form for path, form in provider.asked if path == "/token"]
        assert all(form["client_id"] == CLIENT and not form["authorization"] for form in public), (
            "without secret"
        )
    assert egress.LARGEST < 10_000_000
