"""An authenticator app, and a clock for it that moves when told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyotp

from neurogrid.auth import totp
from neurogrid.core.ids import now
from tests.support.door import Door, Person


class Time:
    """The time by which codes are judged, ahead of the real one."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return now() + self.ahead

    def step(self, steps: int = 1) -> None:
        """Let it be another time step."""
        self.ahead += timedelta(seconds=steps * totp.STEP)


@dataclass
class Phone:
    """Somebody's app, and what they wrote down."""

    time: Time
    secret: str
    codes: list[str]

    def code(self, steps: int = 0) -> str:
        """Return what it shows, so many time steps from now."""
        return pyotp.TOTP(self.secret).at(self.time.now() + timedelta(seconds=steps * totp.STEP))

    def fresh(self) -> str:
        """Wait for the next code and return it."""
        self.time.step()
        return self.code()


async def with_phone(time: Time, door: Door, access: str) -> Phone:
    """Set up an app for whoever an access token is."""
    made = await door.post("2fa/totp", access)
    assert made.status_code == 201, made.text
    phone = Phone(time, made.json()["secret"], [])
    confirmed = await door.post("2fa/totp/confirm", access, code=phone.code())
    assert confirmed.status_code == 200, confirmed.text
    phone.codes = confirmed.json()["recovery_codes"] or []
    return phone


async def ticket_of(person: Person) -> str:
    """Take the first step of signing in."""
    answer = await person.sign_in()
    assert (answer.status_code, answer.json()["code"]) == (202, "mfa_required"), answer.text
    return str(answer.json()["ticket"])


async def second(door: Door, ticket: str, code: str, **more: Any) -> tuple[int, str]:
    """Try the second step; return status and code of the answer."""
    answer = await door.post("2fa/sign-in", ticket=ticket, code=code, **more)
    return answer.status_code, answer.json().get("code", "")
