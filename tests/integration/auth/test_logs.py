"""No secret and nobody's address gets into the logs, whatever callers do."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from neurogrid.auth.policy import Role
from neurogrid.core import logging as logs
from tests.support.door import OTHER, PASSWORD, Door

pytestmark = pytest.mark.asyncio


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """All that is logged, at the level at which most is."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("DEBUG", json=True, stream=stream)
    structlog.configure(cache_logger_on_first_use=False)
    for module in list(sys.modules.values()):  # those that another test has bound to another stream
        logger = getattr(module, "log", None)
        if isinstance(logger, structlog._config.BoundLoggerLazyProxy):
            logger.__dict__.pop("bind", None)
    yield stream
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Walk:
    """Calls the API and remembers what nobody else may read."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.secrets: set[str] = set()

    async def call(self, method: str, path: str, token: str = "", *, expect: int, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await self.door.http.request(
            method, path, headers={**headers, **options.pop("headers", {})}, **options
        )
        assert answer.status_code == expect, (method, path, answer.text)
        found = answer.json() if answer.content else {}
        for name in ("access_token", "refresh_token", "csrf_token", "key", "token"):
            if isinstance(found, dict) and name in found:
                self.secrets.add(found[name])
        self.secrets |= {cookie.value for cookie in answer.cookies.jar if cookie.value}
        return found


async def test_a_walk_through_the_api_leaves_no_secret_in_the_logs(written: io.StringIO, door: Door) -> None:
    """Keys, tokens, passwords, cookies, mailed links and addresses, right and wrong ones, in every place for them."""
    walk = Walk(door)
    call = walk.call
    ada = await door.register()
    walk.secrets |= {PASSWORD, OTHER, ada.email, "nobody@example.org"}
    mailed = await door.mailed(ada.email, "Confirm")
    walk.secrets.add(mailed)
    await call("POST", "/v1/auth/verify-email", json={"token": mailed}, expect=204)
    await call("POST", "/v1/auth/verify-email", json={"token": mailed}, expect=400)
    for email in (ada.email, "nobody@example.org"):
        await call("POST", "/v1/auth/token", json={"email": email, "password": OTHER}, expect=401)
        await call("POST", "/v1/auth/password/forgot", json={"email": email}, expect=202)
    walk.secrets.add(await door.mailed(ada.email, "password"))
    sign_in = {"email": ada.email, "password": PASSWORD}
    await call("POST", "/v1/auth/token", json={**sign_in, "cookie": True}, expect=200)
    door.http.cookies.clear()
    await call("POST", "/v1/auth/token", json={"email": [ada.email], "password": {"a": PASSWORD}}, expect=422)
    await call("POST", "/v1/auth/token", content=f'{{"email": "{ada.email}", "password": "{PASSWORD}"', expect=400,
               headers={"Content-Type": "application/json"})  # fmt: skip
    tokens = await call("POST", "/v1/auth/token", json=sign_in, expect=200)
    access = tokens["access_token"]
    newer = await call(
        "POST", "/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}, expect=200
    )
    await call("POST", "/v1/auth/refresh", json={"refresh_token": newer["refresh_token"]}, expect=200)
    await call("GET", "/v1/auth/me", access, expect=200)
    key = await call(
        "POST",
        "/v1/keys",
        access,
        json={"name": ada.email},
        expect=201,
        headers={"Idempotency-Key": "a-key-1"},
    )
    walk.secrets.add("a-key-1")
    fresh = await call("POST", f"/v1/keys/{key['id']}/rotate", access, expect=201)
    await call("GET", "/v1/tasks", fresh["key"], expect=200)
    await call("GET", "/v1/tasks", expect=200, headers={"X-API-Key": key["key"]})
    await call(
        "GET", "/v1/tasks", expect=401, params={"api_key": key["key"], "token": access, "email": ada.email}
    )
    await call("GET", f"/v1/keys/{key['key']}", access, expect=404)
    await call("GET", f"/no/such/{key['key']}", expect=404)
    await call("GET", "/v1/tasks", key["key"][:-1], expect=401)
    await call("POST", "/v1/tasks", key["key"], expect=202, json={"model": "debug.echo", "input": PASSWORD})
    await call("GET", "/v1/tasks", access + "x", expect=401, headers={"X-Request-ID": key["key"]})
    admin = await door.grid.account(Role.ADMIN)
    walk.secrets |= {admin.key, admin.email}
    await call("GET", "/v1/admin/users", admin.key, params={"email": ada.email}, expect=200)
    await call("GET", "/v1/admin/audit", admin.key, expect=200)
    await call("POST", "/v1/nodes/tokens", admin.key, json={}, expect=201)
    await call("POST", "/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}, expect=401)
    again = await call("POST", "/v1/auth/token", json=sign_in, expect=200)
    changed = {"current_password": PASSWORD, "new_password": OTHER}
    await call("POST", "/v1/auth/password", again["access_token"], json=changed, expect=204)
    await call("POST", "/v1/auth/logout", again["access_token"], expect=204)
    text = written.getvalue()
    assert text.count('"path"') >= 25, "the walk is in the log"
    assert len(walk.secrets) >= 15
    lines = [line for line in text.splitlines() if any(secret in line for secret in walk.secrets if secret)]
    assert lines == []
