"""Roles, tiers and permissions: one table that says who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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


_USER: Final = frozenset({Permission.TASKS_READ, Permission.TASKS_WRITE, Permission.MODELS_READ})
_OPERATOR: Final = _USER | {Permission.NODES_READ, Permission.NODES_WRITE}
PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.USER: _USER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling, and by which key."""

    user_id: str
    key_id: str
    role: Role
    tier: Tier

    @property
    def is_admin(self) -> bool:
        """Whether the caller is an administrator."""
        return self.role is Role.ADMIN

    def may(self, permission: Permission) -> bool:
        """Tell whether the caller's role has ``permission``."""
        return permission in PERMISSIONS[self.role]
