"""Rate limits that no test reaches which is about something else (they count all the same), and ones to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from neurogrid.core.settings_limits import EnterpriseLimits, FreeLimits, LimitSettings, ProLimits
from neurogrid.limits.counting import Counting
from neurogrid.limits.service import LimitService

if TYPE_CHECKING:  # which gives every gateway of the tests what is here
    from tests.support.gateway import Account

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


TASK = {"model": "debug.echo", "input": "hi"}


def few(*, requests: str = "", tasks: str = "", tokens: str = "") -> LimitSettings:
    """Return generous limits but for what a free user may."""
    free = FreeLimits(requests=requests, tasks=tasks, tokens=tokens)
    return GENEROUS.model_copy(update={"free": free})


async def submit(account: Account, **headers: str) -> httpx.Response:
    """Submit a task that is done at once."""
    return await account.http.post("/v1/tasks", json=TASK, headers=headers)


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
