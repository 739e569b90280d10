"""What strangers reach of a gateway: accounts, sign-in, and the mails that come of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import httpx

from neurogrid.core.ids import new_id
from tests.support.gateway import RunningGateway
from tests.support.until import until

PASSWORD = "correct horse battery"
OTHER = "staple battery horse"
SECRET = "0123456789abcdef0123456789abcdef-tests"
TOKEN = re.compile(r"\bng[lvp]_[0-9A-Za-z]{38}")


@dataclass
class Person:
    """Somebody with a password, and a client that keeps no cookies."""

    door: Door
    email: str
    password: str = PASSWORD

    async def sign_in(self, password: str | None = None, **more: Any) -> httpx.Response:
        """Try to sign in."""
        body = {"email": self.email, "password": password or self.password, **more}
        return await self.door.http.post("/v1/auth/token", json=body)

    async def tokens(self) -> dict[str, Any]:
        """Sign in and return the answer."""
        answer = await self.sign_in()
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


class Clock:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Door:
    """What strangers reach of a gateway."""

    def __init__(self, grid: RunningGateway, http: httpx.AsyncClient, outbox: Path) -> None:
        self.grid = grid
        self.http = http
        self.outbox = outbox

    async def register(self, email: str | None = None, password: str = PASSWORD, **more: Any) -> Person:
        """Make an account that is not verified."""
        email = email or f"{new_id()}@example.org"
        body = {"email": email, "password": password, **more}
        answer = await self.http.post("/v1/auth/register", json=body)
        assert answer.status_code == 202, answer.text
        return Person(self, email, password)

    async def post(self, path: str, bearer: str | None = None, /, **body: Any) -> httpx.Response:
        """Post JSON, as the bearer of ``bearer``."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return await self.http.post(f"/v1/auth/{path}", json=body, headers=headers)

    async def get(self, path: str, token: str) -> httpx.Response:
        """Ask as the bearer of ``token``."""
        return await self.http.get(path, headers={"Authorization": f"Bearer {token}"})

    def mails(self, email: str, about: str = "") -> list[Any]:
        """Return the mails to somebody, the oldest first."""
        found = [
            message_from_bytes(file.read_bytes(), policy=policy.default)
            for file in sorted(self.outbox.glob("[!.]*.eml"))
        ]
        return [mail for mail in found if mail["To"] == email and about in mail["Subject"]]

    async def mailed(self, email: str, about: str, count: int = 1) -> str:
        """Wait for the newest of so many mails and return the token in it, if there is one."""
        await until(
            lambda: len(self.mails(email, about)) >= count, what=f"mail {count} about {about} to {email}"
        )
        found = TOKEN.search(self.mails(email, about)[-1].get_content())
        return found[0] if found else ""
