"""The one way out: HTTP requests to hosts that are not ours.

A name may lead anywhere, to this machine, to its neighbours, to the metadata service of a cloud, and elsewhere a
moment later. So it is resolved here, every address it has is checked, and the connection goes to the very address
that was. Redirects are not followed; an answer has a bounded size and time. The addresses of private networks are
open to those alone whom the operator has let there; those that nothing but a machine itself is asked at, to nobody.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from neurogrid.core import networks
from neurogrid.core.settings_egress import EgressSettings

if TYPE_CHECKING:
    import httpx

LARGEST: Final = 1024 * 1024
"""Bytes an answer may have."""
AT_ONCE: Final = 32
"""Requests that may be under way."""
_RESOLVERS: Final = 4
_PORTS: Final = {"https": 443, "http": 80}
_ACCEPTED: Final = {"Accept-Encoding": "identity"}

PRIVATE: Final = networks.read(
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 127.0.0.0/8 fc00::/7 ::1/128"
)
"""Networks of one's own."""
_NEVER: Final = networks.read("100.100.100.200/32 fd00:ec2::/32 fd20:ce::/32")
"""Within those: where clouds tell a machine its secrets. 169.254.0.0/16 and fe80::/10 are in no list of ours."""
_SPECIAL: Final = networks.read(
    "0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
    "224.0.0.0/4 240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 3fff::/20"
)
"""What is on no internet, or leads through a tunnel to an address that would have to be checked (RFC 6890)."""
_GLOBAL: Final = networks.read("0.0.0.0/0 2000::/3")

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host, best first; raises ``OSError``."""


class EgressError(Exception):
    """There is no answer that can be used; the text says why, for the log."""


class AddressRefused(EgressError):
    """The host has an address that may not be asked."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; any status."""

    status: int
    body: bytes


class Egress:
    """Asks other hosts."""

    def __init__(self, settings: EgressSettings, resolve: Resolve | None = None) -> None:
        """Open nothing yet; ``resolve`` is the machine's own way unless given."""
        self._settings = settings
        self._resolve = resolve or self._ask_system
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._resolvers: ThreadPoolExecutor | None = None
        self._opening = asyncio.Lock()
        self._client: httpx.AsyncClient | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        private: bool = False,
    ) -> Reply:
        """Return what ``url`` answers. ``private`` lets it have a private address, and be asked over http.

        Raises ``EgressError``.
        """
        import httpx  # noqa: PLC0415 - most gateways never ask anybody

        private = private or self._settings.allow_private
        try:
            target = httpx.URL(url)
            async with asyncio.timeout(self._settings.timeout), self._turns:
                return await self._ask(method, target, dict(headers or {}), form, private=private)
        except TimeoutError:
            msg = f"no answer within {self._settings.timeout:g} s"
            raise EgressError(msg) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise EgressError(repr(error)) from error

    async def _ask(
        self,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        form: Mapping[str, str] | None,
        *,
        private: bool,
    ) -> Reply:
        import httpx  # noqa: PLC0415

        if url.userinfo or url.scheme not in ({"https", "http"} if private else {"https"}):
            msg = f"{url.scheme} is not spoken, or not without encryption"
            raise EgressError(msg)
        host, port = url.raw_host.decode("ascii").strip("[]"), url.port or _PORTS[url.scheme]
        if port not in range(1, 65536):
            msg = f"{port} is no port"
            raise EgressError(msg)
        addresses = await self._checked(host, port, private=private)
        headers = {**_ACCEPTED, **headers, "Host": url.netloc.decode("ascii")}
        client = await self._opened()
        failure: httpx.TransportError | None = None
        for address in addresses:
            # The certificate has to be the host's, whatever the address.
            request = client.build_request(
                method,
                url.copy_with(host=address),
                headers=headers,
                data=dict(form) if form is not None else None,
                extensions={"sni_hostname": host} if networks.parse(host) is None else {},
            )
            try:
                return await self._read(client, request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise EgressError(repr(failure))

    async def _checked(self, host: str, port: int, *, private: bool) -> list[str]:
        """Return the addresses of a host, all of which may be asked. Raises ``AddressRefused`` or ``OSError``."""
        addresses = await self._resolve(host, port)
        for address in addresses:
            if not may_ask(address, private=private):
                msg = f"{host} has the address {address}, which is not to be asked"
                raise AddressRefused(msg)
        if not addresses:
            msg = f"{host} has no address"
            raise EgressError(msg)
        return addresses

    async def _read(self, client: httpx.AsyncClient, request: httpx.Request) -> Reply:
        """Send a request and read its answer, as far as it may go."""
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            if response.headers.get("content-encoding", "identity") != "identity":
                msg = "the answer is compressed, though that was not asked for"
                raise EgressError(msg)
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST:
                    msg = f"the answer has more than {LARGEST} bytes"
                    raise EgressError(msg)
            return Reply(response.status_code, bytes(body))
        finally:
            await response.aclose()

    async def _opened(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415

        async with self._opening:
            if self._client is None:
                self._client = httpx.AsyncClient(
                    verify=await asyncio.to_thread(_trusted),
                    follow_redirects=False,
                    trust_env=False,
                    timeout=self._settings.timeout,
                    # A connection to an address is not kept: another host may have the same.
                    limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0),
                )
        return self._client

    async def _ask_system(self, host: str, port: int) -> list[str]:
        if self._resolvers is None:  # of its own: a name server that hangs holds up nothing else
            self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")
        found = await asyncio.get_running_loop().run_in_executor(
            self._resolvers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(each[4][0]) for each in found))

    async def close(self) -> None:
        """Let go of everything."""
        if self._client is not None:
            await self._client.aclose()
        if self._resolvers is not None:
            self._resolvers.shutdown(wait=False, cancel_futures=True)


def _trusted() -> ssl.SSLContext:
    """Return whose certificates are believed: the machine's, what SSL_CERT_FILE names, and Mozilla's. Takes a while."""
    import certifi  # noqa: PLC0415

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def may_ask(address: str, *, private: bool) -> bool:
    """Tell whether an address may be asked: one of the internet, or with ``private`` of a network of one's own."""
    if networks.parse(address) is None or address in _NEVER:
        return False
    if address in PRIVATE:
        return private
    return address in _GLOBAL and address not in _SPECIAL
