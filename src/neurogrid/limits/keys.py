"""Whom a request is counted against."""

from __future__ import annotations

from slowapi.util import get_remote_address
from starlette.requests import HTTPConnection, Request

from neurogrid.core import networks

_PREFIX = 64
"""Bits of an IPv6 address that name a site: whoever has one address of it has them all."""


def address_key(request: Request) -> str:
    """Return the network a request comes from. Behind trusted proxies it is the one they name (``core.http.proxies``)."""
    return network_of(get_remote_address(request))


def network_at(connection: HTTPConnection) -> str:
    """Return the same of any connection."""
    client = connection.scope.get("client")
    return network_of(client[0]) if client else "local"


def network_of(host: str) -> str:
    """Return what stands for an address: itself, or of IPv6 its /64. What is no address, such as a socket's path, too."""
    return networks.around(host, v4=32, v6=_PREFIX) or "local"


def owner_of_user(user_id: str) -> str:
    """Return whose windows a user's are."""
    return f"u:{user_id}"


def owner_of_address(network: str) -> str:
    """Return whose windows a network's are."""
    return f"a:{network}"
