"""Growing delays after wrong guesses, which cannot be used to keep somebody else out.

Guesses are counted for each pair of what is guessed at and where from, so whoever guesses wrong holds up their own
network alone, or the one device on which the account signed in before, and never for longer than a quarter of an hour. All places together have a ceiling far above that, for guessing from many networks at once; its delays
are short, and devices and networks from which the account was used before are exempt. A guess counts before it is
judged, so that a thousand at once are no more than a thousand in a row. Accounts that do not exist are counted alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from limits import parse
from sqlalchemy import case, delete, null, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.tables import SignInFailure
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.errors import GridError
from neurogrid.core.ids import now

EVERYWHERE: Final = "*"
MINUTES_FROM: Final = 120
"""Seconds from which on a delay is said in minutes."""
FORGET: Final = timedelta(hours=1)
"""After so long without a wrong guess, all is forgotten."""
_PLACE: Final = (SignInFailure.subject, SignInFailure.place)


@dataclass(frozen=True, slots=True)
class Rule:
    """``free`` guesses have no delay; then it is ``first``, and doubles each time up to ``longest``, in seconds."""

    free: int
    first: float
    longest: float

    def delay(self, failures: int) -> timedelta:
        """Return how long to wait after so many failures."""
        over = failures - self.free
        if over < 0:
            return timedelta()
        return timedelta(seconds=min(self.first * 2 ** min(over, 32), self.longest))


@dataclass(frozen=True, slots=True)
class Limit:
    """No more than ``most`` guesses in any ``seconds``: the last of them has to be waited out, those before less (LIM-2)."""

    most: int
    seconds: float

    def delay(self, failures: int) -> timedelta:
        """Return how long to wait after so many failures."""
        left = max(0, self.most - failures)
        return timedelta(seconds=self.seconds / STEEPNESS**left if left < STEPS else 0)


STEEPNESS: Final = 12
STEPS: Final = 3


class Rules(NamedTuple):
    """How guesses are delayed that come from one place, and from all together."""

    place: Rule | Limit | None
    all: Rule


FROM_ALL: Final = Rule(free=100, first=2.0, longest=60.0)
PASSWORDS: Final = Rules(Limit(5, 900.0), FROM_ALL)
CODES: Final = Rules(Rule(free=5, first=15.0, longest=900.0), Rule(free=20, first=30.0, longest=900.0))
"""At second factors: whoever gets there knows the password, and codes are short."""


def rules_of(rate: str) -> Rules:
    """Return the rules for passwords where the setting ``limits.sign_in`` says ``rate``, such as ``5/15 minutes``."""
    if not rate:
        return Rules(None, FROM_ALL)
    item = parse(rate)
    return Rules(Limit(item.amount, item.get_expiry()), FROM_ALL)


class GuessesDelayed(GridError):
    """Too many wrong guesses; the next may be made after ``Retry-After`` seconds."""

    code, status, title = "sign_in_delayed", 429, "Too many failed attempts"


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess that is counted as wrong until it is said to have been right."""

    subject: str
    places: tuple[str, ...]


class Lockout:
    """Counts guesses."""

    def __init__(self, database: Database, keyring: Keyring, passwords: Rules = PASSWORDS) -> None:
        """Count in ``database``; ``keyring`` hides what was guessed at. Passwords are guessed by the rules ``passwords``."""
        self._passwords = passwords
        self.on_delay: Callable[[str, float], None] | None = None
        """Told where from the next guess has to wait, and for how many seconds."""
        self._database = database
        self._keyring = keyring

    async def begin(
        self, subject: str, place: str, *, known: bool = False, rules: Rules | None = None
    ) -> Guess:
        """Count a guess at ``subject``, such as ``password:ada@example.org``, from ``place``.

        ``known`` exempts from the ceiling of all places; without ``rules`` it is one at a password. Raises ``GuessesDelayed``, and then counts nothing.
        """
        guess = Guess(
            self._keyring.tag("lockout", subject),
            (f"from {place}",) if known else (f"from {place}", EVERYWHERE),
        )
        rules = rules or self._passwords
        async with self._database.transaction() as transaction:
            for each in guess.places:
                rule = rules.all if each == EVERYWHERE else rules.place
                if rule is not None:
                    await self._count(transaction, guess.subject, each, rule)
        return guess

    async def _count(self, transaction: AsyncSession, subject: str, place: str, rule: Rule | Limit) -> None:
        moment = now()
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        failures = case((SignInFailure.last_at < moment - FORGET, 1), else_=SignInFailure.failures + 1)
        counted = await transaction.scalar(
            insert(SignInFailure)
            .values(subject=subject, place=place, failures=1, last_at=moment, blocked_until=None)
            .on_conflict_do_update(
                index_elements=_PLACE,
                set_={"failures": failures, "last_at": moment, "blocked_until": null()},
                where=SignInFailure.blocked_until.is_(None) | (SignInFailure.blocked_until <= moment),
            )
            .returning(SignInFailure.failures)
        )
        row = (SignInFailure.subject == subject, SignInFailure.place == place)
        if counted is None:
            until = await transaction.scalar(select(SignInFailure.blocked_until).where(*row))
            raise _delayed(until, moment)
        delay = rule.delay(counted)
        if delay:
            await transaction.execute(update(SignInFailure).where(*row).values(blocked_until=moment + delay))
            if self.on_delay is not None:
                self.on_delay(place, delay.total_seconds())

    async def succeeded(self, transaction: AsyncSession, guess: Guess) -> None:
        """Forget the failures from there; those from elsewhere stay, less this guess, which was none."""
        await transaction.execute(
            delete(SignInFailure).where(
                SignInFailure.subject == guess.subject, SignInFailure.place == guess.places[0]
            )
        )
        if EVERYWHERE in guess.places:
            await self._take_back(transaction, guess.subject, EVERYWHERE)

    async def withdraw(self, guess: Guess) -> None:
        """Take back a guess that was never judged."""
        async with self._database.transaction() as transaction:
            for place in guess.places:
                await self._take_back(transaction, guess.subject, place)

    async def _take_back(self, transaction: AsyncSession, subject: str, place: str) -> None:
        await transaction.execute(
            update(SignInFailure)
            .where(SignInFailure.subject == subject, SignInFailure.place == place, SignInFailure.failures > 0)
            .values(failures=SignInFailure.failures - 1, blocked_until=None)
        )

    async def reset(self, transaction: AsyncSession, subject: str) -> None:
        """Forget every failure about ``subject``, wherever from."""
        tag = self._keyring.tag("lockout", subject)
        await transaction.execute(delete(SignInFailure).where(SignInFailure.subject == tag))

    async def forget(self) -> None:
        """Delete what is too old to count."""
        async with self._database.transaction() as transaction:
            await transaction.execute(delete(SignInFailure).where(SignInFailure.last_at < now() - FORGET))


def _delayed(until: datetime | None, moment: datetime) -> GuessesDelayed:
    seconds = max(1, round((until - moment).total_seconds() + 0.5)) if until else 1
    wait = f"{seconds} seconds" if seconds < MINUTES_FROM else f"{-(-seconds // 60)} minutes"
    msg = f"Too many failed attempts. Try again in {wait}, or reset the password."
    return GuessesDelayed(msg, headers={"Retry-After": str(seconds)})
