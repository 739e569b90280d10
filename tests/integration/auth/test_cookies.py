"""Cookies of the console, and other sites that would like to use them."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from tests.support.door import PASSWORD, SECRET, Door, Person
from tests.support.gateway import Start

pytestmark = pytest.mark.asyncio

TASK = {"model": "debug.echo", "input": 1}


class Browser:
    """Keeps cookies as a browser does, and shows them to the host alone."""

    def __init__(self, http: httpx.AsyncClient, person: Person) -> None:
        self.http = http
        self.person = person
        self.jar: dict[str, str] = {}
        self.csrf = ""

    async def ask(self, method: str, path: str, *, csrf: bool = True, **options: Any) -> httpx.Response:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())}
        if csrf:
            headers["X-CSRF-Token"] = self.csrf
        headers |= options.pop("headers", {})
        answer = await self.http.request(method, path, headers=headers, **options)
        for each in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(each).items():
                self.jar.pop(name, None)
                if morsel["max-age"] != "0":
                    self.jar[name] = morsel.value
        return answer

    async def sign_in(self) -> httpx.Response:
        body = {"email": self.person.email, "password": PASSWORD, "cookie": True}
        answer = await self.ask("POST", "/v1/auth/token", json=body)
        assert answer.status_code == 200, answer.text
        self.csrf = answer.json()["csrf_token"]
        return answer


async def browser(door: Door) -> Browser:
    """Return a browser that is signed in."""
    signed_in = Browser(door.http, await door.register())
    await signed_in.sign_in()
    return signed_in


async def test_a_session_in_cookies(door: Door) -> None:
    """The console signs in, reads, submits, refreshes and signs out; the answers hold no token."""
    ada = Browser(door.http, await door.register())
    answer = await ada.sign_in()
    assert "ngr_" not in answer.text
    assert "eyJ" not in answer.text
    before = dict(ada.jar)
    assert set(before) == {"ng_access", "ng_refresh", "ng_csrf", "ng_device"}
    assert (await ada.ask("GET", "/v1/tasks", csrf=False)).status_code == 200
    assert (await ada.ask("POST", "/v1/tasks", json=TASK)).status_code == 202
    refreshed = await ada.ask("POST", "/v1/auth/refresh")
    assert refreshed.status_code == 200, refreshed.text
    assert ada.jar["ng_refresh"] != before["ng_refresh"]
    assert ada.jar["ng_csrf"] == before["ng_csrf"] == refreshed.json()["csrf_token"]
    assert (await ada.ask("POST", "/v1/auth/logout")).status_code == 204
    assert set(ada.jar) == {"ng_device"}
    ada.jar = before
    assert (await ada.ask("GET", "/v1/tasks")).status_code == 401


async def test_scripts_and_other_sites_cannot_read_the_tokens(door: Door) -> None:
    """Elsewhere than on this very machine cookies are secure and bound to the host; scripts read the CSRF one alone."""
    ada = await door.register()
    body = {"email": ada.email, "password": PASSWORD, "cookie": True}
    answer = await door.http.post("/v1/auth/token", json=body, headers={"Host": "grid.example.org"})
    cookies = {each.partition("=")[0]: each for each in answer.headers.get_list("set-cookie")}
    assert set(cookies) == {"__Host-ng_access", "__Secure-ng_refresh", "__Host-ng_csrf", "__Host-ng_device"}
    for name, cookie in cookies.items():
        assert "SameSite=strict" in cookie
        assert "Secure" in cookie
        assert "Domain" not in cookie
        assert ("HttpOnly" in cookie) is (name != "__Host-ng_csrf")
        assert ("Path=/v1/auth" in cookie) is (name == "__Secure-ng_refresh")
    # Names without prefix could have been planted by a neighbouring host: they count on this machine only.
    access = SimpleCookie(cookies["__Host-ng_access"])["__Host-ng_access"].value
    for name, host, status in (
        ("ng_access", "grid.example.org", 401),
        ("__Host-ng_access", "grid.example.org", 200),
        ("ng_access", "localhost.evil.example", 401),
        ("ng_access", "localhost:8000", 200),
    ):
        headers = {"Host": host, "Cookie": f"{name}={access}"}
        assert (await door.http.get("/v1/tasks", headers=headers)).status_code == status, (name, host)


async def test_a_stolen_cookie_without_csrf_token(door: Door) -> None:
    """A cookie alone reads and changes nothing; neither does a token that is empty, made up or another session's."""
    ada, eve = await browser(door), await browser(door)
    task = (await ada.ask("POST", "/v1/tasks", json={"model": "puppet", "input": 1})).json()["id"]
    asked = [
        ("POST", "/v1/tasks", TASK),
        ("POST", f"/v1/tasks/{task}/cancel", None),
        ("DELETE", "/v1/auth/sessions", None),
        ("POST", "/v1/auth/password", {"current_password": PASSWORD, "new_password": PASSWORD + "x"}),
        ("POST", "/v1/auth/logout", None),
        ("POST", "/v1/auth/refresh", None),
    ]
    for method, path, body in asked:
        for token in (None, "", "x", "é".encode(), eve.csrf, ada.csrf[:-1], ada.csrf.upper()):
            headers = {} if token is None else {"X-CSRF-Token": token}
            answer = await ada.ask(method, path, csrf=False, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused"), (path, token)
    assert (await ada.ask("GET", f"/v1/tasks/{task}")).json()["status"] != "canceled"
    assert (await ada.ask("POST", "/v1/auth/refresh")).status_code == 200, "what was refused used nothing up"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_requests_of_other_origins(door: Door, headers: dict[str, str]) -> None:
    """A page of another origin is refused, though it had the token; so is its sign-in into our cookies."""
    ada = await browser(door)
    answer = await ada.ask("POST", "/v1/tasks", json=TASK, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused")
    body = {"email": ada.person.email, "password": PASSWORD, "cookie": True}
    answer = await door.http.post("/v1/auth/token", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused")


async def test_our_own_origin_and_those_allowed(start: Start) -> None:
    """Pages of the host that is asked, and of origins by setting, may use cookies."""
    grid = await start(secret_key=SECRET, auth={"allowed_origins": ["https://console.example"]})
    http = await grid.client()
    account = {"email": "a@b.c", "password": PASSWORD}
    await http.post("/v1/auth/register", json=account)
    for origin, status in (
        (grid.url, 200),
        ("https://console.example", 200),
        ("http://console.example", 403),
    ):
        answer = await http.post(
            "/v1/auth/token", json={**account, "cookie": True}, headers={"Origin": origin}
        )
        assert answer.status_code == status, origin


async def test_bearers_need_no_csrf_token(door: Door) -> None:
    """Other sites cannot make a browser send the header, so it needs nothing besides; it counts before a cookie."""
    ada = await browser(door)
    access = (await ada.person.tokens())["access_token"]
    headers = {"Authorization": f"Bearer {access}", "Origin": "https://elsewhere.example"}
    assert (await ada.ask("POST", "/v1/tasks", csrf=False, json=TASK, headers=headers)).status_code == 202
    wrong = {"Authorization": "Bearer nothing"}
    assert (await ada.ask("GET", "/v1/tasks", headers=wrong)).status_code == 401


async def test_a_form_of_another_site_signs_nobody_in(door: Door) -> None:
    """A form, which any page can send, gets no cookies; JSON, which none can, does."""
    ada = await door.register()
    form = {"grant_type": "password", "username": ada.email, "password": PASSWORD, "cookie": "true"}
    answer = await door.http.post("/v1/auth/token", data=form)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


async def test_an_api_key_is_not_taken_from_a_cookie_to_change_anything(door: Door) -> None:
    """Only a session has a CSRF token, so a key in a cookie changes nothing."""
    ada = await door.register()
    key = await door.grid.auth.create_key(ada.email, "k")
    headers = {"Cookie": f"ng_access={key}", "X-CSRF-Token": ""}
    assert (await door.http.post("/v1/tasks", json=TASK, headers=headers)).status_code == 403
