"""A real browser: passkeys made and used in it, and signing in on the page of the API with a second factor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pyotp
import pytest
from playwright.sync_api import Locator, Page, Route, sync_playwright

from tests.e2e.grids import Single

pytestmark = pytest.mark.timeout(300)

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WITHIN = 60_000
"""ms that a busy machine may take."""

CALL = """
async ([path, body, token]) => {
    const headers = {"Content-Type": "application/json"};
    if (token) headers.Authorization = `Bearer ${token}`;
    const csrf = document.cookie.match(/ng_csrf=([^;]+)/);
    if (csrf) headers["X-CSRF-Token"] = csrf[1];
    const method = body === null ? "GET" : "POST";
    const answer = await fetch(path, {method, headers, body: body === null ? undefined : JSON.stringify(body)});
    return [answer.status, await answer.json()];
}
"""
CREATE = """
async (options) => (await navigator.credentials.create(
    {publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)})).toJSON()
"""
GET = """
async (options) => (await navigator.credentials.get(
    {publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)})).toJSON()
"""


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a browser that has an authenticator of its own."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail(f"there is no browser, none of {', '.join(BROWSERS)}: apt-get install -y chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(WITHIN)
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        yield page
        browser.close()


def call(page: Page, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    """Have the page ask the gateway that it came from."""
    status, said = page.evaluate(CALL, [f"/v1/auth/{path}", body, token])
    return status, said


def test_passkeys_and_codes(single: Single, page: Page) -> None:
    """Made in a browser, a passkey signs in alone and as second factor; *Authorize* takes a code as client secret."""
    gateway = single.up("--debug-models", "--models", "debug.echo")
    url = gateway.url.replace("127.0.0.1", "localhost")
    account = {"email": EMAIL, "password": PASSWORD}
    with httpx.Client(base_url=gateway.url, trust_env=False) as http:
        http.post("/v1/auth/register", json=account).raise_for_status()
        token = http.post("/v1/auth/token", json=account).raise_for_status().json()["access_token"]
    page.goto(f"{url}/docs")

    status, options = call(page, "passkeys/options", {}, token)
    assert status == 200, options
    made = page.evaluate(CREATE, options)
    status, passkey = call(page, "passkeys", {"credential": made, "name": "Chromium"}, token)
    assert status == 201, passkey
    assert len(passkey["recovery_codes"]) == 10

    _, options = call(page, "passkeys/sign-in/options", {})
    answer = page.evaluate(GET, options)
    status, said = call(page, "passkeys/sign-in", {"credential": answer, "cookie": True})
    assert status == 200, said
    assert call(page, "me")[1]["email"] == EMAIL, "the cookies are those of the owner of the passkey"
    status, said = call(page, "passkeys/sign-in", {"credential": answer})
    assert (status, said["code"]) == (401, "passkey_refused"), "the same answer twice"

    status, first = call(page, "token", account)
    assert (status, first["code"], first["second_factors"]) == (
        202,
        "mfa_required",
        ["passkey", "recovery_code"],
    )
    _, options = call(page, "2fa/options", {"ticket": first["ticket"]})
    body = {"ticket": first["ticket"], "credential": page.evaluate(GET, options)}
    status, said = call(page, "2fa/sign-in", body)
    assert status == 200, said

    status, app = call(page, "2fa/totp", {})
    assert status == 201, app
    phone = pyotp.TOTP(app["secret"])
    assert call(page, "2fa/totp/confirm", {"code": phone.now()})[0] == 200
    page.reload()
    token = authorize(page, passkey["recovery_codes"][0])
    status, said = call(page, "sessions", None, token)
    assert (status, [each["methods"] for each in said["data"] if each["current"]]) == (
        200,
        [["password", "recovery_code"]],
    )


def test_tasks_are_tried_out_on_the_page(single: Single, page: Page) -> None:
    """On ``/docs`` one signs in, submits a task and looks at it; the page asks no other host for anything."""
    gateway = single.up("--debug-models", "--models", "debug.echo")
    with httpx.Client(base_url=gateway.url, trust_env=False) as http:
        http.post("/v1/auth/register", json={"email": EMAIL, "password": PASSWORD}).raise_for_status()
    foreign: list[str] = []

    def only_ours(route: Route) -> None:
        if route.request.url.startswith((gateway.url, "data:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    page.route("**/*", only_ours)
    page.goto(f"{gateway.url}/docs")
    authorize(page)
    page.locator(".modal-ux .close-modal").click()

    submit = operation(page, "submit_task")
    submit.locator("textarea.body-param__text").fill('{"model": "debug.echo", "input": "from the page"}')
    status, task = execute(submit)
    assert (status, task["model"]) == ("202", "debug.echo")

    look = operation(page, "get_task")
    look.get_by_placeholder("id").fill(task["id"])
    status, seen = execute(look)
    assert (status, seen["id"]) == ("200", task["id"])
    for _ in range(100):
        if seen["finished_at"]:
            break
        _, seen = execute(look)
    assert (seen["status"], seen["output"]) == ("completed", "from the page")
    assert not foreign


def operation(page: Page, name: str) -> Locator:
    """Open an operation of the page."""
    block = page.locator(f'.opblock[id*="-{name}_v1_tasks"]').first
    block.locator(".opblock-summary-control").click()
    return block


def execute(block: Locator) -> tuple[str, Any]:
    """Press *Execute*; return status and body of the answer that is shown."""
    with block.page.expect_response(lambda answer: "/v1/tasks" in answer.url):
        block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table")
    shown = live.locator("tbody td.response-col_status").first
    shown.wait_for()
    return shown.inner_text().split()[0], json.loads(live.locator(".highlight-code code").first.inner_text())


def authorize(page: Page, code: str = "") -> str:
    """Sign in by *Authorize*, as its dialog says, and return the token that requests are tried out with."""
    page.get_by_role("button", name="Authorize").first.click()
    page.locator("#oauth_username").fill(EMAIL)
    page.locator("#oauth_password").fill(PASSWORD)
    page.locator("#client_secret_password").fill(code)
    page.get_by_role("button", name="Apply given OAuth2 credentials").click()
    page.get_by_role("button", name="Remove authorization").wait_for()
    token: str = page.evaluate("JSON.parse(localStorage.authorized).Password.token.access_token")
    return token
