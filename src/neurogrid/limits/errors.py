"""What a request that is over its limit is answered with."""

from __future__ import annotations

from limits import RateLimitItem
from limits.limits import RateLimitItemPerSecond
from slowapi.errors import RateLimitExceeded
from slowapi.wrappers import Limit

from neurogrid.core.errors import GridError
from neurogrid.limits.keys import address_key
from neurogrid.limits.policy import NAMES
from neurogrid.limits.windows import Window

_LENGTHS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}


class LimitExceeded(GridError, RateLimitExceeded):  # type: ignore[misc]  # both have headers; ours are never None
    """More than the limit: slowapi's error, rendered as a problem like every other (RFC 9457)."""

    code, status, title = "rate_limited", 429, "Too many requests"

    def __init__(self, window: Window, wait: int, advice: str = "") -> None:
        """Name the ``window``; ``wait`` is in seconds, ``advice`` is what to do besides waiting."""
        detail = f"The limit is {said(window)}. Try again in {wait} s."
        if advice:
            detail = f"{detail} {advice}"
        RateLimitExceeded.__init__(self, _limit(window, detail))
        self.detail = detail
        self.errors = ()
        self.headers = {"Retry-After": str(wait)}
        self.window = window


def said(window: Window) -> str:
    """Return a window in words: ``10 task submissions an hour``."""
    length = _LENGTHS.get(window.seconds)
    what = f"{window.amount} {NAMES[window.name]}"
    if length is not None:
        return f"{what} {'an' if length == 'hour' else 'a'} {length}"
    minutes, rest = divmod(window.seconds, 60)
    return f"{what} in {window.seconds} seconds" if rest else f"{what} in {minutes} minutes"


def _limit(window: Window, message: str) -> Limit:
    item: RateLimitItem = RateLimitItemPerSecond(window.amount, window.seconds)
    return Limit(item, address_key, window.name, False, None, message, None, 1, False)
