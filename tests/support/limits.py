"""Rate limits that no test reaches which is about something else: they count all the same."""

from __future__ import annotations

from neurogrid.core.settings_limits import EnterpriseLimits, FreeLimits, LimitSettings, ProLimits
from neurogrid.limits.counting import Counting
from neurogrid.limits.service import LimitService

_MANY = "1000000/minute"

GENEROUS = LimitSettings(
    free=FreeLimits(requests=_MANY, tasks=_MANY, tokens="100000000/minute", running=10_000),
    pro=ProLimits(requests=_MANY, tasks=_MANY, tokens="100000000/minute", running=10_000),
    enterprise=EnterpriseLimits(requests=_MANY, tasks=_MANY, tokens="100000000/minute", running=0),
    reads=_MANY,
    heavy=_MANY,
    training=_MANY,
    keys=_MANY,
    anonymous=_MANY,
    address=_MANY,
    sign_in_address=_MANY,
    redis_timeout=5.0,
)


def as_environment(settings: LimitSettings = GENEROUS) -> dict[str, str]:
    """Return the same for processes."""
    found: dict[str, str] = {}
    for name, value in settings.model_dump(mode="json").items():
        pairs = value.items() if isinstance(value, dict) else (("", value),)
        for inner, each in pairs:
            variable = f"NEUROGRID_LIMITS__{name}{f'__{inner}' if inner else ''}".upper()
            found[variable] = str(each)
    return found


def unlimited() -> LimitService:
    """Return limits that are switched off, for applications put together by hand."""
    settings = LimitSettings(enabled=False)
    return LimitService(settings, Counting(settings, None, "test"))
