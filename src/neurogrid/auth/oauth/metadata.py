"""What a provider says of itself: its endpoints and its keys, fetched when first needed and believed for an hour."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import structlog

from neurogrid.auth.oauth.id_tokens import BadIdToken, Header, VerificationKey, choose, keys_of
from neurogrid.auth.oauth.providers import Endpoints, Provider
from neurogrid.core.egress import Egress, EgressError
from neurogrid.core.errors import GridError, ProviderUnavailable
from neurogrid.core.http.body import parse_json
from neurogrid.core.settings_oauth import check_url

BELIEVED: Final = 3600.0
REFETCHED: Final = 60.0
"""Seconds that lie between two looks for a key that is not known: whoever makes up names of keys causes no more."""
RETRIED: Final = 5.0
"""Seconds for which a provider that did not answer is not asked again, so that nobody waits in line for it."""
OK: Final = 200
_DEPTH: Final = 16

T = TypeVar("T")
log = structlog.get_logger(__name__)


def unavailable(provider: Provider, why: str) -> ProviderUnavailable:
    """Return what users are told of a provider that does not work; the log says why."""
    log.warning("oauth.provider_unavailable", provider=provider.name, why=why)
    msg = f"{provider.label} does not answer as it should. Try again in a moment, or sign in another way."
    return ProviderUnavailable(msg)


def read_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in ``body``, if it is one."""
    try:
        value = parse_json(body, _DEPTH)
    except GridError:
        return None
    return value if isinstance(value, dict) else None


class _Kept(Generic[T]):
    """Something that is fetched by one caller at a time, and kept; that it failed is kept for a moment as well."""

    def __init__(self, fetch: Callable[[], Awaitable[T]]) -> None:
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._at = -math.inf
        self._failure: ProviderUnavailable | None = None
        self._failed_at = -math.inf

    async def get(self, younger_than: float = BELIEVED) -> T:
        """Return it, not older than so many seconds. Raises ``ProviderUnavailable``."""
        async with self._lock:
            if self._value is not None and time.monotonic() - self._at < younger_than:
                return self._value
            if self._failure is not None and time.monotonic() - self._failed_at < RETRIED:
                raise ProviderUnavailable(self._failure.detail)
            try:
                self._value = await self._fetch()
            except ProviderUnavailable as failure:
                self._failure, self._failed_at = failure, time.monotonic()
                raise
            self._at, self._failure = time.monotonic(), None
            return self._value


class Metadata:
    """What one provider says of itself."""

    def __init__(self, provider: Provider, egress: Egress) -> None:
        """Ask by ``egress``, when there is need."""
        self._provider = provider
        self._egress = egress
        self._endpoints: _Kept[Endpoints] = _Kept(self._discover)
        self._keys: _Kept[dict[str, VerificationKey]] = _Kept(self._fetch_keys)

    async def endpoints(self) -> Endpoints:
        """Return where it is asked what. Raises ``ProviderUnavailable``."""
        return self._provider.endpoints or await self._endpoints.get()

    async def key(self, header: Header) -> VerificationKey:
        """Return the key that a token's header means. Raises ``BadIdToken`` or ``ProviderUnavailable``."""
        key = choose(header, await self._keys.get())
        if key is None:  # keys rotate
            key = choose(header, await self._keys.get(younger_than=REFETCHED))
        if key is None:
            msg = "signed by a key that the provider does not publish"
            raise BadIdToken(msg)
        return key

    async def _discover(self) -> Endpoints:
        provider = self._provider
        document = await self._fetch(f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != provider.issuer:
            raise unavailable(provider, "it describes itself as another issuer than the settings name")
        urls = [
            self._url(document, name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        ]
        info = document.get("userinfo_endpoint")
        ways = document.get("token_endpoint_auth_methods_supported")
        return Endpoints(
            authorization=urls[0],
            token=urls[1],
            jwks=urls[2],
            userinfo=None if info is None else self._url(document, "userinfo_endpoint"),
            secret_in_form=isinstance(ways, list)
            and "client_secret_post" in ways
            and "client_secret_basic" not in ways,
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _url(self, document: Mapping[str, Any], name: str) -> str:
        url = document.get(name)
        if not isinstance(url, str):
            raise unavailable(self._provider, f"{name} is missing where it describes itself")
        try:
            check_url(url, name, private=self._provider.private)
        except ValueError as error:
            raise unavailable(self._provider, str(error)) from None
        return url

    async def _fetch_keys(self) -> dict[str, VerificationKey]:
        url = (await self.endpoints()).jwks
        keys = keys_of(await self._fetch(url)) if url is not None else {}
        if not keys:
            raise unavailable(self._provider, "it publishes no key that can be used")
        return keys

    async def _fetch(self, url: str) -> dict[str, Any]:
        try:
            reply = await self._egress.request("GET", url, private=self._provider.private)
        except EgressError as error:
            raise unavailable(self._provider, f"{url}: {error}") from None
        document = read_object(reply.body) if reply.status == OK else None
        if document is None:
            raise unavailable(self._provider, f"{url}: status {reply.status}, or no JSON object")
        return document
