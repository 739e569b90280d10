"""Settings of what the grid may ask of other hosts."""

from __future__ import annotations

from pydantic import Field

from neurogrid.core.settings_base import Seconds, Section


class EgressSettings(Section):
    """Requests to other hosts."""

    allow_private: bool = Field(
        False,
        description="Whether any of them may have a private address (this machine, 10.0.0.0/8, …).",
    )
    timeout: Seconds = Field(10.0, description="How long one may take, all in all.")
