"""Decides whether a request may go on (LIM-1 to LIM-5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType

from starlette.requests import HTTPConnection

from neurogrid.auth.policy import Identity, Tier
from neurogrid.core.errors import Unauthenticated
from neurogrid.core.settings_limits import LimitSettings
from neurogrid.limits import keys
from neurogrid.limits.counting import Counting
from neurogrid.limits.errors import LimitExceeded, said
from neurogrid.limits.headers import CARD, Card
from neurogrid.limits.overview import overview
from neurogrid.limits.policy import MAKING, Plan, Policy
from neurogrid.limits.rows import GRANT_KEY, ROWS_KEY, Rows, rows_of
from neurogrid.limits.schemas import LimitStatistics
from neurogrid.limits.statistics import Shared, Statistics
from neurogrid.limits.windows import REFUSED, Answer, Standing, State, Take, Window, left, stand

Refused = Callable[[str, str, str, str], None]
"""Told the tier, the caller, the window and the path of a refusal."""
REPEATED_BY = "idempotency-key"
"""The header of requests that may be repeated ones."""
SECOND = 1000
"""ms."""


class Attempt:
    """A try to sign in, counted already; taken back unless the block is left by ``Unauthenticated``."""

    def __init__(self, counting: Counting, taken: Sequence[tuple[Take, State]]) -> None:
        self._counting = counting
        self._taken = taken

    def __enter__(self) -> None:
        """Let the password be judged."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the try back if it was no failure."""
        if not isinstance(error, Unauthenticated):
            for take, state in self._taken:
                self._counting.add(take.owner, take.window, state.at, -1)


class LimitService:
    """Counts requests and refuses those over a limit. With limits switched off it lets everything through."""

    def __init__(self, settings: LimitSettings, counting: Counting) -> None:
        """Count by ``counting``."""
        self._settings = settings
        self._counting = counting
        self.policy = Policy(settings)
        self.statistics = Statistics()
        self.shared = Shared(self.statistics, counting)
        self.on_refused: Refused | None = None

    async def admit(self, request: HTTPConnection, identity: Identity, classes: tuple[str, ...]) -> None:
        """Count a request of ``identity`` to an endpoint of these classes. Raises ``LimitExceeded``."""
        plan = self.policy.plan_for(identity, classes)
        if not plan.limits:
            _card(request).tier = plan.tier
            return
        owner = keys.owner_of_user(identity.user_id)
        takes = [Take(owner, window) for window in plan.own]
        if plan.rows and plan.later:
            request.scope[GRANT_KEY] = partial(self._grant, request, plan, owner)
        elif plan.rows:
            takes += _parts(owner, plan, await rows_of(request))
        if plan.address:
            network = keys.owner_of_address(keys.network_at(request))
            takes += [Take(network, window) for window in plan.address]
        if not takes:  # all is counted later
            _card(request).tier = plan.tier
            return
        answer = await self._counting.take(takes)
        if answer.granted == REFUSED and plan.repeatable and request.headers.get(REPEATED_BY):
            await self._withhold(request, plan, takes, answer)
            return
        self._judge(request, plan, takes, answer)

    async def _grant(self, request: HTTPConnection, plan: Plan, owner: str, asked: int) -> Rows:
        takes = _parts(owner, plan, asked)
        self._weigh(request, plan, takes, await self._counting.take(takes))
        rows: Rows = request.scope[ROWS_KEY]
        return rows

    async def _withhold(
        self, request: HTTPConnection, plan: Plan, takes: Sequence[Take], answer: Answer
    ) -> None:
        """Count what may be a repeated request as a request alone, and leave it to who knows that to refuse it."""
        others = [take for take in takes if take.window.name not in MAKING]
        if len(others) == len(takes):
            self._judge(request, plan, takes, answer)
        if others:
            self._judge(request, plan, others, await self._counting.take(others))
        take, standing = _longest_wait(takes, answer)
        card = _card(request)
        card.tier, card.policy = plan.tier, plan.policy
        _show(card, take.window, standing, answer.now)
        refusal = partial(self._exceeded, plan.tier, _path_of(request), take, standing)
        request.scope[ROWS_KEY] = Rows(0, refusal)

    async def stranger(self, request: HTTPConnection) -> None:
        """Count a request without valid credentials against its address. Raises ``LimitExceeded``."""
        plan = self.policy.anonymous
        if plan.limits:
            owner = keys.owner_of_address(keys.network_at(request))
            takes = [Take(owner, window) for window in plan.own]
            self._judge(request, plan, takes, await self._counting.take(takes))

    async def attempt(self, request: HTTPConnection) -> Attempt:
        """Count a try to sign in before it is judged (see ``auth.ports``). Raises ``LimitExceeded``.

        So as many guesses at once as anybody likes are no more than one after the other. Tries at one account are the
        business of ``auth.lockout``.
        """
        owner = keys.owner_of_address(keys.network_at(request))
        plan = self.policy.sign_in_address
        takes = [Take(owner, window) for window in plan.own]
        if not takes:
            return Attempt(self._counting, [])
        answer = await self._counting.take(takes)
        self._judge(request, plan, takes, answer)
        return Attempt(self._counting, list(zip(takes, answer.states, strict=True)))

    def overview(self, top: int) -> LimitStatistics:
        """Return the statistics of all gateways, with the ``top`` most limited callers and paths."""
        return overview(self.shared.all(), self._counting, self._settings.algorithm, top)

    # --- verdicts -----------------------------------------------------------------------------

    def _judge(self, request: HTTPConnection, plan: Plan, takes: Sequence[Take], answer: Answer) -> None:
        self._weigh(request, plan, takes, answer)
        self.statistics.allowed[plan.tier] += 1

    def _weigh(self, request: HTTPConnection, plan: Plan, takes: Sequence[Take], answer: Answer) -> None:
        card = _card(request)
        card.tier, card.policy = plan.tier, plan.policy
        if answer.granted == REFUSED:
            take, standing = _longest_wait(takes, answer)
            _show(card, take.window, standing, answer.now)
            raise self._exceeded(plan.tier, _path_of(request), take, standing)
        place, window, state = _least_left(answer)
        standing = stand(window, state, answer.now, 1)
        if not card.amount or standing.left < card.left:
            _show(card, takes[place].window, standing, answer.now)
        if plan.makes:
            self._settle_later(request, plan, takes, answer)

    def exceeded(self, tier: Tier, path: str, takes: Sequence[Take], answer: Answer) -> LimitExceeded:
        """Count a refusal that was met at ``path``, and return what to answer."""
        return self._exceeded(tier.value, path, *_longest_wait(takes, answer))

    def _exceeded(self, tier: str, path: str, take: Take, standing: Standing) -> LimitExceeded:
        self.statistics.note_refused(tier, take.owner, take.window.name, path)
        if self.on_refused is not None:
            self.on_refused(tier, take.owner, take.window.name, path)
        return LimitExceeded(take.window, _seconds(standing.wait), self._advice(tier, take.window))

    def _advice(self, tier: str, window: Window) -> str:
        """Return what gets somebody more, if anything does."""
        better = self.policy.better(tier, window)
        if better is None:
            return ""
        higher, more = better
        return f"Upgrade to the tier {higher} for {said(more)}. {self._settings.upgrade}".strip()

    def _settle_later(
        self, request: HTTPConnection, plan: Plan, takes: Sequence[Take], answer: Answer
    ) -> None:
        """Give back what makes nothing, when that is known."""
        made = [
            (take, state)
            for take, state in zip(takes, answer.states, strict=True)
            if take.window.name in MAKING
        ]
        rows: Rows | None = None
        if any(take.part for take in takes):
            take, standing = _longest_wait([take for take in takes if take.part], _of_parts(takes, answer))
            refusal = partial(self._exceeded, plan.tier, _path_of(request), take, standing)
            rows = request.scope[ROWS_KEY] = Rows(answer.granted, refusal)

        def settle(nothing: bool) -> None:  # noqa: FBT001
            for take, state in made:
                cost = answer.granted if take.part else take.cost
                back = cost if nothing or rows is None else rows.unused
                if back and (nothing or take.part):
                    self._counting.add(take.owner, take.window, state.at, -back)

        _card(request).settle = settle


def _card(request: HTTPConnection) -> Card:
    card: Card | None = request.scope.get(CARD)
    return card if card is not None else Card()


def _parts(owner: str, plan: Plan, asked: int) -> list[Take]:
    return [Take(owner, each, min(asked, each.amount), part=True) for each in plan.rows]


def _least_left(answer: Answer) -> tuple[int, Window, State]:
    """Return the window of which least is left, and its place."""
    now, place, least = answer.now, 0, left(answer.windows[0], answer.states[0], answer.now)
    for other in range(1, len(answer.states)):
        room = left(answer.windows[other], answer.states[other], now)
        if room < least:
            place, least = other, room
    return place, answer.windows[place], answer.states[place]


def _longest_wait(takes: Sequence[Take], answer: Answer) -> tuple[Take, Standing]:
    """Return what has to be waited for longest. Of takes of which a part will do, that is one."""
    standings = [
        stand(window, state, answer.now, 1 if take.part else min(take.cost, window.amount))
        for take, window, state in zip(takes, answer.windows, answer.states, strict=True)
    ]
    place = max(range(len(takes)), key=lambda each: standings[each].wait)
    return takes[place], standings[place]


def _of_parts(takes: Sequence[Take], answer: Answer) -> Answer:
    places = [place for place, take in enumerate(takes) if take.part]
    return answer._replace(
        windows=[answer.windows[place] for place in places], states=[answer.states[place] for place in places]
    )


def _path_of(request: HTTPConnection) -> str:
    """Return the path of the route, without what is filled in."""
    return getattr(request.scope.get("route"), "path", "other")


def _show(card: Card, window: Window, standing: Standing, now: int) -> None:
    card.amount, card.left = window.amount, standing.left
    card.reset = _seconds(standing.reset)
    card.until = -(-(now + standing.reset) // SECOND)


def _seconds(ms: int) -> int:
    return max(1, -(-ms // SECOND))
