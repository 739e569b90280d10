"""Settings of the rate limits (LIM-1 to LIM-8). A rate is written `100/hour`, `5/15 minutes`, several with `;`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints, field_validator

from neurogrid.core import networks
from neurogrid.core.settings_base import Seconds, Section

RATE: Final = r"[1-9]\d{0,8}/([1-9]\d{0,3} )?(second|minute|hour|day)s?"
MOST_RUNNING: Final = 100_000
Rates = Annotated[str, StringConstraints(pattern=rf"^({RATE}(;\s*{RATE})*)?$")]
"""Nothing: without limit."""
OneRate = Annotated[str, StringConstraints(pattern=rf"^({RATE})?$")]
Amount = Annotated[int, Field(ge=0, le=10**15)]
"""0: without limit."""


class Algorithm(StrEnum):
    """How requests are counted."""

    FIXED_WINDOW = "fixed_window"
    SLIDING_WINDOW = "sliding_window"
    TOKEN_BUCKET = "token_bucket"  # noqa: S105 - of tokens that refill


REQUESTS: Final = "Requests of a user."
TASKS: Final = "Tasks that a user submits; each row of a bulk is one."
RUNNING: Final = "Tasks of a user that run at once; more wait. 0: no limit."
TOKENS: Final = "Tokens of text generation, prompt and answer together."
MONTHLY_TASKS: Final = "Tasks that a user submits in a month (UTC); 0: no limit."
MONTHLY_TOKENS: Final = "Tokens, of prompts and answers, that a user uses in a month; 0: no limit."
MONTHLY_COMPUTE: Final = "Seconds that nodes compute for a user in a month; 0: no limit."


class TierLimits(Section):
    """What one tier gets."""

    requests: Rates = Field("", description=REQUESTS)
    tasks: Rates = Field("", description=TASKS)
    tokens: Rates = Field("", description=TOKENS)
    running: int = Field(0, ge=0, le=MOST_RUNNING, description=RUNNING)
    monthly_tasks: Amount = Field(0, description=MONTHLY_TASKS)
    monthly_tokens: Amount = Field(0, description=MONTHLY_TOKENS)
    monthly_compute_seconds: Amount = Field(0, description=MONTHLY_COMPUTE)


class FreeLimits(TierLimits):
    """What the tier free gets."""

    requests: Rates = Field("100/hour;20/minute", description=REQUESTS)
    tasks: Rates = Field("10/hour", description=TASKS)
    tokens: Rates = Field("20000/minute", description=TOKENS)
    running: int = Field(2, ge=0, le=MOST_RUNNING, description=RUNNING)
    monthly_tasks: Amount = Field(2_000, description=MONTHLY_TASKS)
    monthly_tokens: Amount = Field(2_000_000, description=MONTHLY_TOKENS)
    monthly_compute_seconds: Amount = Field(36_000, description=MONTHLY_COMPUTE)


class ProLimits(TierLimits):
    """What the tier pro gets."""

    requests: Rates = Field("1000/hour;100/minute", description=REQUESTS)
    tasks: Rates = Field("100/hour", description=TASKS)
    tokens: Rates = Field("200000/minute", description=TOKENS)
    running: int = Field(10, ge=0, le=MOST_RUNNING, description=RUNNING)
    monthly_tasks: Amount = Field(50_000, description=MONTHLY_TASKS)
    monthly_tokens: Amount = Field(50_000_000, description=MONTHLY_TOKENS)
    monthly_compute_seconds: Amount = Field(1_000_000, description=MONTHLY_COMPUTE)


class EnterpriseLimits(TierLimits):
    """What the tier enterprise gets."""

    requests: Rates = Field("10000/hour;500/minute", description=REQUESTS)
    tasks: Rates = Field("1000/hour", description=TASKS)
    tokens: Rates = Field("2000000/minute", description=TOKENS)
    running: int = Field(50, ge=0, le=MOST_RUNNING, description=RUNNING)


class LimitSettings(Section):
    """Rate limits. A rate is written `100/hour` or `5/15 minutes`, several with `;`; an empty one is no limit."""

    enabled: bool = Field(True, description="Whether anybody is limited at all.")
    algorithm: Algorithm = Field(
        Algorithm.SLIDING_WINDOW, description="`fixed_window`, `sliding_window` or `token_bucket`."
    )
    free: FreeLimits = FreeLimits()
    pro: ProLimits = ProLimits()
    enterprise: EnterpriseLimits = EnterpriseLimits()
    reads: Rates = Field("1000/hour", description="Lists, logs and statistics.")
    heavy: Rates = Field("10/minute", description="Bulk submissions and replays.")
    training: Rates = Field("100/hour", description="Training tasks.")
    keys: Rates = Field("200/day", description="Keys and tokens made.")
    anonymous: Rates = Field(
        "100/15 minutes", description="Requests of an address without valid credentials."
    )
    address: Rates = Field("3000/minute", description="Requests of an address whose callers are signed in.")
    sign_in: OneRate = Field(
        "5/15 minutes",
        description="Wrong passwords for an account from a network, by growing delays; holds without limits, too.",
    )
    sign_in_address: Rates = Field("20/15 minutes", description="Failed sign-ins from an address.")
    trusted_proxies: str = Field(
        "",
        description="Networks, separated by commas, whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`.",
    )
    upgrade: str = Field(
        "Ask the operator of this grid.",
        max_length=300,
        description="How to get a higher tier, told with a 429.",
    )
    redis_timeout: Seconds = Field(
        0.15, description="Redis is taken for away after this; each gateway then limits by itself."
    )
    redis_retry: Seconds = Field(2.0, description="How often a Redis that is away is asked again.")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        """Refuse what is no network."""
        return ",".join(networks.read(text))
