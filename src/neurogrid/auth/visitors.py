"""Where a request comes from, as far as sign-in cares: address, network, program, and whether the device is known."""

from __future__ import annotations

from dataclasses import dataclass

from neurogrid.core import networks

MAX_AGENT = 300


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who knocks. ``device`` is the text of the cookie that a device got when somebody signed in on it, if any."""

    address: str
    user_agent: str = ""
    device: str | None = None

    @property
    def network(self) -> str:
        """The part of the address that one customer of a provider usually has."""
        return network_of(self.address)


def network_of(address: str) -> str:
    """Return the /24 of an IPv4 address, the /56 of an IPv6 one; what is neither is returned as it is."""
    return networks.around(address, v4=24, v6=56) or address[:64]


def printable(text: str, longest: int = MAX_AGENT) -> str:
    """Return what a stranger calls itself, fit to be stored and shown."""
    return "".join(character if character.isprintable() else " " for character in text[:longest]).strip()
