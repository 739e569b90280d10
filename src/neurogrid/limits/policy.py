"""Who gets how much: the table of tiers and endpoint classes, made of settings (LIM-1, LIM-2, LIM-8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from limits import parse_many

from neurogrid.auth.policy import Identity, KeyLimits, Tier
from neurogrid.core.settings_limits import LimitSettings, TierLimits
from neurogrid.limits.windows import Window

TASKS: Final = "tasks"
"""Class of requests that make a task."""
ROWS: Final = "rows"
"""Class of requests that make a task of each row; less than all rows may be granted."""
LATER: Final = "later"
"""Class of requests that make tasks as ``ROWS`` do, but find out how many while they are served."""
REPEATABLE: Final = "repeatable"
"""Class of requests that may be repeated ones, which make nothing: those with an ``Idempotency-Key`` are let through
when no task is left, and whoever serves them has to refuse (``limits.rows.Rows.use``) what is not known.
"""
MARKS: Final = frozenset({ROWS, LATER, REPEATABLE})
"""Classes without windows of their own."""
TOKENS: Final = "tokens"
"""Window of text generation (``limits.tokens``); no class of requests."""
READS: Final = "reads"
HEAVY: Final = "heavy"
KEYS: Final = "keys"
TRAINING: Final = "training"

KEY_REQUESTS: Final = "key_requests"
KEY_TASKS: Final = "key_tasks"
"""Windows of one API key, within those of its user."""

MAKING: Final = frozenset({TASKS, ROWS, KEYS, TRAINING, KEY_TASKS})
"""Windows of these count what is made; requests that made nothing are given back."""

NAMES: Final = {
    "requests": "requests",
    "tasks": "task submissions",
    "tokens": "tokens of text generation",
    "reads": "requests for lists, logs and statistics",
    "heavy": "requests for bulk work",
    "training": "training tasks",
    "keys": "requests for new keys",
    KEY_REQUESTS: "requests with this API key",
    KEY_TASKS: "task submissions with this API key",
    "anonymous": "requests without valid credentials",
    "address": "requests from your network",
    "sign_in_address": "failed sign-ins from your network",
}
OF_TIERS: Final = frozenset({"requests", "tasks", "tokens"})
"""Windows that every tier has figures of its own for."""
NEXT: Final = {Tier.FREE.value: Tier.PRO}
"""The tier that users of one are told of when they are limited."""
MINUTE: Final = 60
HOUR: Final = 3600
MOST_KEYS: Final = 10_000
"""Keys with limits of their own whose plans are kept."""
ANONYMOUS: Final = "anonymous"
"""The tier, as answers name it, of callers without valid credentials."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows in which one kind of request is counted."""

    tier: str
    own: tuple[Window, ...] = ()
    rows: tuple[Window, ...] = ()
    address: tuple[Window, ...] = ()
    later: bool = False
    """Whether ``rows`` are counted when it is known how many there are."""
    repeatable: bool = False
    makes: bool = False
    """Whether some windows count what is made, and so have to be given back what is not."""
    policy: bytes = b""
    """All of it, as the header ``RateLimit-Policy`` says it."""

    @property
    def limits(self) -> bool:
        """Whether there is anything to count."""
        return bool(self.own or self.rows or self.address)


class Policy:
    """The table."""

    def __init__(self, settings: LimitSettings) -> None:
        """Read the rates of ``settings``."""
        self._settings = settings
        self._plans: dict[tuple[Tier, tuple[str, ...]], Plan] = {}
        self._of_keys: dict[tuple[Tier, tuple[str, ...], str, KeyLimits], Plan] = {}
        self.anonymous = _plan(ANONYMOUS, self._windows("anonymous", settings.anonymous))
        self.sign_in_address = _plan(ANONYMOUS, self._windows("sign_in_address", settings.sign_in_address))

    def plan_for(self, identity: Identity, classes: tuple[str, ...]) -> Plan:
        """Return where a request of somebody to an endpoint of these classes counts, the limits of their key included."""
        plan = self.plan(identity.tier, classes)
        if identity.limits is None or not self._settings.enabled:
            return plan
        key = (identity.tier, classes, identity.counted_as or "", identity.limits)
        if key not in self._of_keys:
            if len(self._of_keys) >= MOST_KEYS:
                self._of_keys.clear()
            self._of_keys[key] = self._with_key(plan, classes, *key[2:])
        return self._of_keys[key]

    def _with_key(self, plan: Plan, classes: tuple[str, ...], of: str, limits: KeyLimits) -> Plan:
        def windows(name: str, *amounts: tuple[int | None, int]) -> tuple[Window, ...]:
            algorithm = self._settings.algorithm
            return tuple(Window(name, most, seconds, algorithm, of) for most, seconds in amounts if most)

        own = plan.own + windows(
            KEY_REQUESTS, (limits.requests_per_hour, HOUR), (limits.requests_per_minute, MINUTE)
        )
        made = windows(KEY_TASKS, (limits.tasks_per_hour, HOUR))
        own += made if TASKS in classes else ()
        rows = plan.rows + (made if ROWS in classes or LATER in classes else ())
        return _plan(plan.tier, own, rows, plan.address, classes)

    def plan(self, tier: Tier, classes: tuple[str, ...]) -> Plan:
        """Return where a request of ``tier`` to an endpoint of these classes counts."""
        plan = self._plans.get((tier, classes))
        if plan is None:
            plan = self._plans[tier, classes] = self._make(tier, classes)
        return plan

    def of(self, tier: Tier, name: str) -> tuple[Window, ...]:
        """Return the windows of one name. Raises ``ValueError`` for one that does not exist."""
        limits = self._tier(tier)
        return self._windows(name, self._rates(limits, name)) if limits is not None else ()

    def running(self, tier: Tier) -> int | None:
        """Return how many tasks of a user run at once; ``None``: any number."""
        limits = self._tier(tier)
        return limits.running or None if limits is not None and self._settings.enabled else None

    def better(self, tier: str, window: Window) -> tuple[Tier, Window] | None:
        """Return the tier to upgrade to from ``tier``, and what it has in place of ``window``, if that is more."""
        higher = NEXT.get(tier)
        if higher is None or window.name not in OF_TIERS:
            return None
        for other in self.of(higher, window.name):
            if other.seconds == window.seconds and other.amount > window.amount:
                return higher, other
        return None

    def _windows(self, name: str, rates: str) -> tuple[Window, ...]:
        """Return the windows that a setting names."""
        if not rates or not self._settings.enabled:
            return ()
        algorithm = self._settings.algorithm
        return tuple(Window(name, item.amount, item.get_expiry(), algorithm) for item in parse_many(rates))

    def _tier(self, tier: Tier) -> TierLimits | None:
        if tier is Tier.UNLIMITED:
            return None
        limits: TierLimits = getattr(self._settings, tier.value)
        return limits

    def _rates(self, limits: TierLimits, name: str) -> str:
        if name in OF_TIERS:
            rates: str = getattr(limits, name)
        elif name in {READS, HEAVY, KEYS, TRAINING}:
            rates = getattr(self._settings, name)
        else:
            msg = f"there is no endpoint class {name!r}"
            raise ValueError(msg)
        return rates

    def _make(self, tier: Tier, classes: tuple[str, ...]) -> Plan:
        own = list(self.of(tier, "requests"))
        for name in classes:
            if name not in MARKS:
                own += self.of(tier, name)
        rows = self.of(tier, TASKS) if ROWS in classes or LATER in classes else ()
        address: tuple[Window, ...] = ()
        if self._tier(tier) is not None:
            address = self._windows("address", self._settings.address)
        return _plan(tier.value, tuple(own), rows, address, classes)


def _plan(
    tier: str,
    own: tuple[Window, ...] = (),
    rows: tuple[Window, ...] = (),
    address: tuple[Window, ...] = (),
    classes: tuple[str, ...] = (),
) -> Plan:
    windows = (*own, *rows)
    policy = ", ".join(f'"{each.name}";q={each.amount};w={each.seconds}' for each in windows)
    makes = any(each.name in MAKING for each in windows)
    later, repeatable = LATER in classes, REPEATABLE in classes
    return Plan(tier, own, rows, address, later, repeatable, makes, policy.encode())
