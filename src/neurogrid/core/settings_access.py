"""Settings of who may come at all, by address (AUTH-9)."""

from __future__ import annotations

from pydantic import Field, field_validator

from neurogrid.core import networks
from neurogrid.core.settings_base import Section


class AccessSettings(Section):
    """Networks, separated by commas. Behind proxies, name them in `NEUROGRID_LIMITS__TRUSTED_PROXIES`."""

    allow: str = Field("", description="Networks that may use the grid, such as `10.0.0.0/8`; empty: all.")
    deny: str = Field("", description="Networks that may not, also where `ALLOW` names them.")
    admin_allow: str = Field("", description="Networks that may use `/v1/admin`; empty: all that may come.")
    admin_deny: str = Field("", description="Networks that may not, also where `ADMIN_ALLOW` names them.")

    @field_validator("allow", "deny", "admin_allow", "admin_deny")
    @classmethod
    def _networks(cls, text: str) -> str:
        return ",".join(networks.read(text))
