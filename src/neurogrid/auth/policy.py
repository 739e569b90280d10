"""Roles, tiers and permissions: one table that says who may do what."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from neurogrid.core.networks import Networks


class Role(StrEnum):
    """What a user is trusted with."""

    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


class Tier(StrEnum):
    """How much a user gets."""

    FREE = "free"
    PRO = "pro"
    ENTERPRISE = "enterprise"
    UNLIMITED = "unlimited"


class Permission(StrEnum):
    """What a route asks for."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    MODELS_READ = "models:read"
    NODES_READ = "nodes:read"
    NODES_WRITE = "nodes:write"
    ANNOUNCE = "announcements:write"
    ACCOUNT_READ = "account:read"
    ACCOUNT_WRITE = "account:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    MONITORING_READ = "monitoring:read"
    USAGE_READ = "usage:read"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    AUDIT_READ = "audit:read"


NEEDS_VERIFIED_EMAIL: Final = frozenset({Permission.TASKS_WRITE})
"""What takes a proven address, where the settings ask for one."""

OWN_ACCOUNT: Final = frozenset({Permission.ACCOUNT_READ, Permission.ACCOUNT_WRITE})
"""All that is left to who lacks a second factor that their role takes."""


class Proof(StrEnum):
    """What a route asks for besides a permission."""

    NONE = "none"
    SIGNED_IN = "signed in"
    """A session, and no API key."""
    RECENT = "recent"
    """A session whose owner showed of late who they are, or an API key: it was made by one."""
    OWNER = "owner"
    """Both: such a session, and no API key, which must not get hold of an account."""


_USER: Final = frozenset(
    {
        Permission.TASKS_READ,
        Permission.TASKS_WRITE,
        Permission.MODELS_READ,
        Permission.ACCOUNT_READ,
        Permission.ACCOUNT_WRITE,
        Permission.KEYS_READ,
        Permission.KEYS_WRITE,
        Permission.USAGE_READ,
    }
)
_OPERATOR: Final = _USER | {Permission.NODES_READ, Permission.NODES_WRITE, Permission.MONITORING_READ}
PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.USER: _USER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(Permission),
}


ADMIN_NEWS: Final = {
    "node.connected": Permission.NODES_READ,
    "node.left": Permission.NODES_READ,
    "limit.hit": Permission.MONITORING_READ,
    "sign_in.delayed": Permission.MONITORING_READ,
    "audit.entry": Permission.AUDIT_READ,
}
"""What the WebSocket channel `admin` tells, and the permission it takes. Who has one of them may follow the channel."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How often a key may be used, within what the tier of its user allows; ``None``: no limit of its own."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    tasks_per_hour: int | None = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(each is not None for each in dataclasses.astuple(self))

    def within(self, other: KeyLimits) -> bool:
        """Tell whether whoever has these has no more than ``other``."""
        return self == self.narrowed(other)

    def narrowed(self, other: KeyLimits) -> KeyLimits:
        """Return the smaller of each."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return KeyLimits(*(min((each for each in pair if each is not None), default=None) for pair in pairs))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling, and by which API key (``key_id``) or session (``session_id``).

    ``scopes`` narrows what the role may, ``networks`` where from; ``None`` leaves it all. ``lacks_factor``: the role takes
    a second factor, and there is none yet. ``expires_at`` is when the credential itself ends and is no part of who
    somebody is: two tokens of a session are one identity.
    """

    user_id: str
    key_id: str | None
    role: Role
    tier: Tier
    session_id: str | None = None
    scopes: frozenset[Permission] | None = None
    email_verified: bool = False
    networks: Networks | None = None
    lacks_factor: bool = False
    expires_at: datetime | None = field(default=None, compare=False)
    limits: KeyLimits | None = field(default=None, compare=False)
    """What the key itself is limited to, counted under the id ``counted_as``."""
    counted_as: str | None = field(default=None, compare=False)

    @property
    def is_admin(self) -> bool:
        """Whether the caller is an administrator."""
        return self.role is Role.ADMIN

    def may(self, permission: Permission) -> bool:
        """Tell whether the caller's role has ``permission``, and nothing takes it away."""
        return permission in self.permissions

    @property
    def permissions(self) -> frozenset[Permission]:
        """All that the caller may."""
        granted = PERMISSIONS[self.role] if self.scopes is None else PERMISSIONS[self.role] & self.scopes
        return granted & OWN_ACCOUNT if self.lacks_factor else granted

    def may_come_from(self, address: str) -> bool:
        """Tell whether the credential was made for use from ``address``."""
        return self.networks is None or address in self.networks


def scopes_of(text: str | None) -> frozenset[Permission] | None:
    """Return the scopes that a key's row names; one that this release does not know grants nothing."""
    if text is None:
        return None
    return frozenset(Permission(each) for each in text.split() if each in _NAMES)


_NAMES: Final = frozenset(each.value for each in Permission)
