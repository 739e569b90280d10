"""Addresses, and lists of them as people write them: ``10.0.0.0/8, 2001:db8::/32, 192.0.2.7``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of addresses; its text is its canonical form."""

    each: tuple[Network, ...] = ()

    def __contains__(self, address: object) -> bool:
        """Tell whether an address, given as text, lies within; what is no address lies nowhere."""
        parsed = parse(address) if isinstance(address, str) else None
        return parsed is not None and any(parsed in network for network in self.each)

    def __bool__(self) -> bool:
        return bool(self.each)

    def __iter__(self) -> Iterator[str]:
        return map(str, self.each)

    def __str__(self) -> str:
        return " ".join(self)

    def within(self, others: Networks) -> bool:
        """Tell whether all of it lies within ``others``, each network in one of them."""
        return all(any(_inside(mine, other) for other in others.each) for mine in self.each)


def read(text: str) -> Networks:
    """Return the networks that ``text`` names, separated by commas or spaces. Raises ``ValueError``."""
    return of(part for part in re.split(r"[,\s]+", text) if part)


def of(parts: Iterable[str]) -> Networks:
    """Return the networks named, each once. Raises ``ValueError`` for one with a bit set beyond its prefix."""
    return Networks(tuple(dict.fromkeys(_network(part) for part in parts)))


known = lru_cache(maxsize=1024)(read)
"""The same as ``read``, for text that comes again and again."""


def _network(text: str) -> Network:
    try:
        return ip_network(text.strip())
    except ValueError as error:
        msg = f"{error}; networks read 10.0.0.0/8 or 2001:db8::/32, single addresses 192.0.2.7"
        raise ValueError(msg) from None


@lru_cache(maxsize=16_384)
def parse(text: str) -> Address | None:
    """Return the address that ``text`` is, ``None`` if it is none; IPv4 within IPv6 is IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # As an IPv4 caller looks to a server that listens on both.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=16_384)
def around(text: str, *, v4: int, v6: int) -> str | None:
    """Return the network of so many bits, of IPv4 or IPv6, in which an address lies; ``None`` for what is none."""
    address = parse(text)
    if address is None:
        return None
    bits = v4 if isinstance(address, IPv4Address) else v6
    return str(address) if bits == address.max_prefixlen else str(ip_network((address, bits), strict=False))


def _inside(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


EVERYWHERE = read("0.0.0.0/0 ::/0")
"""What is an address at all."""
