"""Sign-in by a real OpenID provider that runs in a process of its own, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.support.door import SECRET, Door
from tests.support.gateway import RunningGateway, running
from tests.support.openid import CLIENT, JSON, PUBLIC, Browser, asked_of, provider_process, settings

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real provider."""
    with provider_process(tmp_path_factory.mktemp("provider") / "log") as url:
        yield url


@pytest_asyncio.fixture
async def grid(database_url: str, issuer: str, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway that knows the provider; the test runs once on each database."""
    options = settings(work=issuer)
    mail = {"outbox": tmp_path / "outbox"}
    async with running(database_url, nodes=False, secret_key=SECRET, mail=mail, **options) as gateway:
        yield gateway


async def consent(url: str, subject: str, email: str, **claims: object) -> str:
    """Sign in at the provider as somebody, and return where it sends the browser."""
    parts = urlsplit(url)
    async with httpx.AsyncClient(base_url=f"{parts.scheme}://{parts.netloc}", trust_env=False) as http:
        about = {"email": email, "email_verified": True, **claims}
        assert (await http.put(f"/users/{subject}", json=about)).status_code == 204
        answer = await http.post(url, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]


async def test_the_whole_way(grid: RunningGateway, issuer: str) -> None:
    """A newcomer goes to the provider and comes back signed in, by PKCE; the second time it is the same account."""
    ada = await Browser.of(grid)
    assert (await ada.get("/v1/auth/oauth")).json()["data"] == [
        {"name": "work", "label": "Work", "start": "/v1/auth/oauth/work/start"}
    ]
    accounts = set()
    for number in (1, 2):
        begun = await ada.get("/v1/auth/oauth/work/start?next=/app?x=1", Host="evil.example")
        assert begun.status_code == 303
        asked = asked_of(begun.headers["location"])
        assert begun.headers["location"].startswith(f"{issuer}/oauth2/authorize?")
        assert asked["redirect_uri"] == f"{PUBLIC}/v1/auth/oauth/work/callback", (
            "never what the Host header says"
        )
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        back = await consent(begun.headers["location"], "ada-1", "Ada@Example.org")
        assert back.startswith(f"{PUBLIC}/v1/auth/oauth/work/callback?")
        ada.jar["ng_flow"] = ada.jar.pop("__Host-ng_flow")  # begun as a host that is not this machine
        arrived = await ada.get(back)
        assert (arrived.status_code, arrived.headers["location"]) == (303, f"{PUBLIC}/app?x=1")
        assert set(ada.jar) == {"ng_access", "ng_refresh", "ng_csrf", "ng_device"}, "the flow is over"
        me = (await ada.get("/v1/auth/me")).json()
        assert (me["email"], me["email_verified"], me["role"], me["tier"]) == (
            "ada@example.org",
            True,
            "user",
            "free",
        )
        accounts.add(me["id"])
        sessions = (await ada.get("/v1/auth/sessions")).json()["data"]
        assert len(sessions) == number
        assert {method for each in sessions for method in each["methods"]} == {"oauth:work"}
    assert len(accounts) == 1
    linked = (await ada.get("/v1/auth/oauth/identities")).json()["data"]
    assert [(each["provider"], each["email"]) for each in linked] == [("work", "ada@example.org")]
    assert linked[0]["last_used_at"] is not None


async def test_programs_get_tokens(grid: RunningGateway) -> None:
    """Who asks for JSON gets the provider's URL, and in the end tokens in place of cookies."""
    tool = await Browser.of(grid)
    begun = await tool.get("/v1/auth/oauth/work/start", **JSON)
    assert begun.status_code == 200
    back = await consent(begun.json()["authorization_url"], "tool-1", "tool@example.org")
    arrived = await tool.get(back, **JSON)
    assert arrived.status_code == 200, arrived.text
    assert tool.jar == {}
    door = Door(grid, await grid.client(), Path())
    me = await door.get("/v1/auth/me", arrived.json()["access_token"])
    assert me.json()["email"] == "tool@example.org"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_code_that_somebody_else_asked_for(grid: RunningGateway) -> None:
    """A code put into another browser's sign-in is refused by the provider: the verifier is not the one (PKCE)."""
    ada, eve = await Browser.of(grid), await Browser.of(grid)
    theirs = await ada.get("/v1/auth/oauth/work/start")
    stolen = asked_of(await consent(theirs.headers["location"], "ada-2", "ada2@example.org"))["code"]
    asked = await eve.begin("work")
    answer = await eve.come_back("work", code=stolen, state=asked["state"])
    assert (answer.status_code, answer.json()["code"]) == (400, "oauth_answer_invalid")
    assert not {"ng_access", "access_token"} & {*eve.jar, *answer.json()}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_address_that_is_not_confirmed(grid: RunningGateway) -> None:
    """A newcomer whose address the provider does not vouch for gets no account, and hears what to do."""
    eve = await Browser.of(grid)
    begun = await eve.get("/v1/auth/oauth/work/start")
    back = await consent(begun.headers["location"], "eve-1", "eve@example.org", email_verified=False)
    answer = await eve.get(back)
    assert (answer.status_code, answer.json()["code"]) == (403, "provider_email_unverified")
    assert "Confirm it there" in answer.json()["detail"]
    assert "ng_access" not in eve.jar
