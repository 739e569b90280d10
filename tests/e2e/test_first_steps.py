"""The first steps of somebody new, over real HTTP: from signing up to a key that is revoked."""

from __future__ import annotations

import re
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

import httpx
import pyotp
import pytest

from neurogrid.auth import totp
from neurogrid.core.ids import now
from tests.e2e.grids import LONG, Single
from tests.support.plain import NOBODY
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(300)

ADA = {"email": "ada@example.org", "password": "correct horse battery"}


class Visitor:
    """Somebody with a client that keeps nothing."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def ask(self, method: str, path: str, credential: str = "", body: Any = None) -> tuple[int, Any]:
        """Return status and body of the answer."""
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        answer = self._http.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json() if answer.content else None

    def post(self, path: str, credential: str = "", **body: Any) -> tuple[int, Any]:
        """Post JSON."""
        return self.ask("POST", path, credential, body)


def mailed(single: Single, subject: str) -> str:
    """Return what is in the mail about ``subject``, once it is there."""

    def newest() -> str:
        for file in (single.directory / "outbox").glob("[!.]*.eml"):
            mail = message_from_bytes(file.read_bytes(), policy=policy.default)
            if mail["To"] == ADA["email"] and subject in mail["Subject"]:
                text: str = mail.get_content()
                return text
        return ""

    return until_blocking(newest, LONG, what=f"a mail about {subject}")


def test_from_sign_up_to_a_revoked_key(single: Single) -> None:
    """Sign up, verify, sign in, set up a second factor and use it, make a key, run a task by it, revoke it."""
    single.grid.environment = {**single.grid.environment, "NEUROGRID_AUTH__REQUIRE_VERIFIED_EMAIL": "true"}
    gateway = single.up("--debug-models", "--models", "debug.echo")
    with httpx.Client(base_url=gateway.url, trust_env=False, verify=NOBODY, timeout=LONG) as http:
        walk(single, Visitor(http))


def walk(single: Single, ada: Visitor) -> None:
    task = {"model": "debug.echo", "input": "hi"}

    assert ada.post("/v1/auth/register", **ADA)[0] == 202
    status, session = ada.post("/v1/auth/token", **ADA)
    assert status == 200
    status, refused = ada.post("/v1/tasks", session["access_token"], **task)
    assert (status, refused["code"]) == (403, "email_not_verified")
    found = re.search(r"\bng[vp]_[0-9A-Za-z]{38}", mailed(single, "Confirm your e-mail address"))
    assert found
    assert ada.post("/v1/auth/verify-email", token=found[0])[0] == 204

    status, session = ada.post("/v1/auth/token", **ADA)
    status, app = ada.post("/v1/auth/2fa/totp", session["access_token"])
    assert status == 201
    phone = pyotp.TOTP(app["secret"])
    began = now()
    first = phone.at(began)
    status, confirmed = ada.post("/v1/auth/2fa/totp/confirm", session["access_token"], code=first)
    assert (status, len(confirmed["recovery_codes"])) == (200, 10)

    status, pending = ada.post("/v1/auth/token", **ADA)
    assert (status, pending["code"]) == (202, "mfa_required")
    assert ada.post("/v1/auth/2fa/sign-in", ticket=pending["ticket"], code=first)[0] == 401, "used before"
    following = phone.at(began + timedelta(seconds=totp.STEP))
    status, session = ada.post("/v1/auth/2fa/sign-in", ticket=pending["ticket"], code=following)
    assert status == 200, session
    access = session["access_token"]

    status, key = ada.post("/v1/keys", access, name="laptop", scopes=["tasks:read", "tasks:write"])
    assert status == 201, key
    status, submitted = ada.post("/v1/tasks", key["key"], **task)
    assert status == 202, submitted
    path = f"/v1/tasks/{submitted['id']}"

    def over() -> Any:
        seen = ada.ask("GET", path, key["key"])[1]
        return seen if seen["finished_at"] else None

    assert until_blocking(over, LONG, what="the task is over")["status"] == "completed"
    assert ada.ask("GET", "/v1/keys", key["key"])[0] == 403, "its scopes are tasks"
    assert ada.ask("DELETE", f"/v1/keys/{key['id']}", access)[0] == 204
    status, refused = ada.ask("GET", path, key["key"])
    assert (status, refused["code"]) == (401, "unauthenticated")
