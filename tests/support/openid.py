"""Providers to sign in by, a real one in a process of its own and one that lies, and a browser that goes there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from fastapi import FastAPI, Request, Response

from tests.support.gateway import RunningGateway, _serving
from tests.support.processes import free_port
from tests.support.signing import published, rsa_key, sign
from tests.support.until import until_blocking

PUBLIC = "https://grid.example"
"""What the gateway of a test takes for its own URL; nothing listens there."""
CLIENT = "the-grid"
JSON = {"Accept": "application/json"}


# --- a real one ---------------------------------------------------------------------------------


@contextmanager
def provider_process(log: Path) -> Iterator[str]:
    """Run a real OpenID provider that demands PKCE; yields its issuer."""
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    script = Path(__file__).with_name("openid_process.py")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, script, str(port)], stdin=subprocess.PIPE, stderr=output
        ) as process,
    ):
        try:
            until_blocking(lambda: _answers(issuer), what="the provider answers")
            yield issuer
        finally:
            process.kill()


def _answers(issuer: str) -> bool:
    try:
        return httpx.get(f"{issuer}/exchanged", trust_env=False).is_success
    except httpx.TransportError:
        return False


# --- one that lies ------------------------------------------------------------------------------


@dataclass
class Rogue:
    """A provider that answers what its test wants; to a code it answers with the ID token of that nonce."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=lambda: [published(rsa_key())])
    user: dict[str, Any] = field(default_factory=dict)
    token: Callable[[dict[str, Any]], str] = sign
    answer: Callable[[str], Response | None] = lambda _: None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def claims_of(self, nonce: str) -> dict[str, Any]:
        """Return what an ID token says; a claim that is ``None`` is left out."""
        now = int(time.time())
        standard = {
            "iss": self.url, "aud": CLIENT, "sub": "rogue-1", "iat": now, "exp": now + 300, "nonce": nonce,
            "email": "ada@example.org", "email_verified": True,
        }  # fmt: skip
        return {name: value for name, value in {**standard, **self.claims}.items() if value is not None}

    def count(self, path: str) -> int:
        """Return how often ``path`` was asked for."""
        return sum(each == path for each, _ in self.asked)

    async def __call__(self, request: Request) -> Response:
        path = request.url.path
        form = dict(parse_qsl((await request.body()).decode()))
        self.asked.append((path, {**form, "authorization": request.headers.get("authorization", "")}))
        special = self.answer(path)
        if special is not None:
            return special
        match path:
            case "/.well-known/openid-configuration":
                return _json({
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "userinfo_endpoint": f"{self.url}/userinfo",
                    "jwks_uri": f"{self.url}/keys",
                    **self.document,
                })  # fmt: skip
            case "/keys":
                return _json({"keys": self.keys})
            case "/token":
                claims = self.claims_of(form["code"])
                return _json({"access_token": "at", "token_type": "Bearer", "id_token": self.token(claims)})
            case _:
                return _json(self.user)


def _json(value: Any) -> Response:
    return Response(json.dumps(value), media_type="application/json")


@asynccontextmanager
async def rogue(**knobs: Any) -> AsyncIterator[Rogue]:
    """Run a provider that lies."""
    provider = Rogue(**knobs)
    app = FastAPI(openapi_url=None)
    app.add_route("/{path:path}", provider.__call__, methods=["GET", "POST"])
    async with _serving(app) as url:
        provider.url = url
        yield provider


# --- a browser ----------------------------------------------------------------------------------


@dataclass
class Browser:
    """Keeps the cookies of the grid, and goes where it is sent."""

    grid: RunningGateway
    http: httpx.AsyncClient
    jar: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def of(cls, grid: RunningGateway) -> Browser:
        """Return a fresh one."""
        return cls(grid, await grid.client())

    async def get(self, url: str, **headers: str) -> httpx.Response:
        """Ask the grid, whatever it calls itself."""
        return await self.ask("GET", url.removeprefix(PUBLIC), headers=headers)

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask the grid, and keep the cookies that it sets."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        headers = {"Accept": "text/html", "Cookie": cookies, **options.pop("headers", {})}
        answer = await self.http.request(method, path, headers=headers, **options)
        for each in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(each).items():
                self.jar.pop(name, None)
                if morsel["max-age"] != "0":
                    self.jar[name] = morsel.value
        return answer

    async def begin(self, provider: str, **query: str) -> dict[str, str]:
        """Begin to sign in and return what the provider is asked."""
        answer = await self.ask("GET", f"/v1/auth/oauth/{provider}/start", params=query)
        assert answer.status_code == 303, answer.text
        return asked_of(answer.headers["location"])

    async def come_back(self, provider: str, **query: str) -> httpx.Response:
        """Come back from the provider, asking for JSON."""
        return await self.ask("GET", f"/v1/auth/oauth/{provider}/callback", params=query, headers=JSON)

    async def sign_in(self, provider: str, **query: str) -> httpx.Response:
        """Sign in by a provider that takes a nonce for a code."""
        asked = await self.begin(provider, **query)
        return await self.come_back(provider, code=asked["nonce"], state=asked["state"])


def asked_of(url: str) -> dict[str, str]:
    """Return the parameters of a URL."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def settings(**providers: str) -> dict[str, Any]:
    """Return settings of a gateway that knows providers at these issuers on this machine."""
    each = {
        name: {"client_id": CLIENT, "client_secret": "hush:hush", "issuer": issuer, "private": True}
        for name, issuer in providers.items()
    }
    return {"public_url": PUBLIC, "oauth": {"providers": each}}
