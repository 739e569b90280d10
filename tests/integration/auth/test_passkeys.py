"""Passkeys: what signs in by them, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from neurogrid.auth.ceremonies import PasskeyRefused, encode
from neurogrid.auth.parts import make_auth
from neurogrid.auth.sessions import Issued
from neurogrid.auth.tables import AuditEntry, OneTimeToken
from neurogrid.auth.visitors import Visitor
from neurogrid.core.db import Database
from neurogrid.core.ids import now
from tests.support.authenticator import Authenticator, tampered
from tests.support.door import SECRET, Door, Person
from tests.support.gateway import settings_for
from tests.support.phone import ticket_of

pytestmark = pytest.mark.asyncio

ORIGIN = "http://localhost:8000"
"""Where users reach a grid whose settings say nothing."""
REFUSED = (401, "passkey_refused")
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def options(door: Door, path: str, access: str | None = None, **body: Any) -> dict[str, Any]:
    """Return what the browser is to ask."""
    answer = await door.post(path, access, **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def add(door: Door, access: str, passkey: Authenticator, name: str = "key") -> httpx.Response:
    """Add a passkey to an account."""
    made = passkey.make(await options(door, "passkeys/options", access))
    return await door.post("passkeys", access, credential=made, name=name)


async def person_with(door: Door, **saying: Any) -> tuple[Person, str, Authenticator]:
    """Return somebody with a session and a passkey."""
    person, passkey = await door.register(), Authenticator(ORIGIN, **saying)
    access = (await person.tokens())["access_token"]
    added = await add(door, access, passkey)
    assert added.status_code == 201, added.text
    return person, access, passkey


def outcome(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


async def alone(door: Door, passkey: Authenticator) -> httpx.Response:
    """Sign in by a passkey and nothing else."""
    asked = await options(door, "passkeys/sign-in/options")
    return await door.post("passkeys/sign-in", credential=passkey.answer(asked))


async def test_the_life_of_a_passkey(door: Door) -> None:
    """It signs in alone, is a second factor and a proof, has a name, and is worth nothing once removed."""
    ada, access, passkey = await person_with(door)
    [shown] = (await door.get("/v1/auth/passkeys", access)).json()["data"]
    assert (shown["name"], shown["synced"], shown["last_used_at"]) == ("key", False, None)
    asked = await options(door, "passkeys/options", access)
    assert [each["id"] for each in asked["excludeCredentials"]] == [encode(passkey.id)]
    assert ada.email not in str(asked["user"]["id"])
    done = await alone(door, passkey)
    assert done.status_code == 200, done.text
    listed = (await door.get("/v1/auth/sessions", done.json()["access_token"])).json()["data"]
    assert [each["methods"] for each in listed if each["current"]] == [["passkey"]]
    passkey.verified = False
    ticket = await ticket_of(ada)
    asked = await options(door, "2fa/options", ticket=ticket)
    assert [each["id"] for each in asked["allowCredentials"]] == [encode(passkey.id)]
    answer = await door.post("2fa/sign-in", ticket=ticket, credential=passkey.answer(asked))
    assert answer.status_code == 200, "next to the password it need not make sure of its holder"
    asked = await options(door, "step-up/options", access)
    assert (await door.post("step-up", access, credential=passkey.answer(asked))).status_code == 200
    path, headers = f"/v1/auth/passkeys/{shown['id']}", {"Authorization": f"Bearer {access}"}
    renamed = await door.http.patch(path, json={"name": "my\nlaptop"}, headers=headers)
    assert renamed.json()["name"] == "my laptop"
    assert (await door.http.delete(path, headers=headers)).status_code == 204
    await door.mailed(ada.email, "was removed")
    passkey.verified = True
    assert outcome(await alone(door, passkey)) == REFUSED
    assert (await ada.sign_in()).status_code == 200, "it was the only second factor"


def with_origin(passkey: Authenticator) -> None:
    passkey.origin = "http://localhost.evil.example:8000"


def with_port(passkey: Authenticator) -> None:
    passkey.origin = "http://localhost:8001"


def with_domain(passkey: Authenticator) -> None:
    passkey.domain = "evil.example"


def within_another_page(passkey: Authenticator) -> None:
    passkey.more = {"crossOrigin": True, "topOrigin": "https://evil.example"}


def within_a_page_that_is_named(passkey: Authenticator) -> None:
    passkey.more = {"topOrigin": "https://evil.example"}


def unverified(passkey: Authenticator) -> None:
    passkey.verified = False


def counting_back(passkey: Authenticator) -> None:
    passkey.count = 1


def with_a_key_of_its_own(passkey: Authenticator) -> None:
    passkey.key = Authenticator(ORIGIN).key


def unknown(passkey: Authenticator) -> None:
    passkey.id = b"\x01" * 32


def of_somebody_else(passkey: Authenticator) -> None:
    passkey.user = encode(b"\x01" * 16)


@ON_SQLITE
async def test_what_does_not_sign_in(door: Door) -> None:
    """Answers of other sites and domains, from frames, by strangers and copies: each is refused, the true one taken."""
    _, access, passkey = await person_with(door)
    assert (await alone(door, passkey)).status_code == 200
    lies = (
        with_origin, with_port, with_domain, within_another_page, within_a_page_that_is_named, unverified,
        counting_back, with_a_key_of_its_own, unknown, of_somebody_else,
    )  # fmt: skip
    for lie in lies:
        liar = Authenticator(
            passkey.origin, id=passkey.id, key=passkey.key, user=passkey.user, count=passkey.count + 50
        )
        lie(liar)
        assert outcome(await alone(door, liar)) == REFUSED, lie.__name__
    noted = select(AuditEntry.target).where(AuditEntry.action == "passkey.copied")
    assert len(await door.grid.database.all(noted)) == 1
    for lie in (with_origin, with_port, with_domain, within_another_page):
        liar = Authenticator(ORIGIN)
        lie(liar)
        assert outcome(await add(door, access, liar)) == REFUSED, lie.__name__
    asked = await options(door, "passkeys/sign-in/options")
    for name in ("signature", "authenticatorData", "clientDataJSON", "userHandle"):
        bent = tampered(passkey.answer(asked), name)
        assert outcome(await door.post("passkeys/sign-in", credential=bent)) == REFUSED, name
        asked = await options(door, "passkeys/sign-in/options")
    assert (await alone(door, passkey)).status_code == 200


@ON_SQLITE
async def test_a_challenge_is_answered_once_and_for_what_it_was_made(door: Door) -> None:
    """Not twice, not after a wrong answer, not late, not for another purpose, session or sign-in."""
    ada, access, passkey = await person_with(door)
    other = (await alone(door, passkey)).json()["access_token"]

    async def sign_in(asked: dict[str, Any]) -> tuple[int, str]:
        return outcome(await door.post("passkeys/sign-in", credential=passkey.answer(asked)))

    asked = await options(door, "passkeys/sign-in/options")
    assert (await sign_in(asked))[0] == 200
    assert await sign_in(asked) == REFUSED, "twice"
    asked = await options(door, "passkeys/sign-in/options")
    await door.post("passkeys/sign-in", credential=tampered(passkey.answer(asked), "signature"))
    assert await sign_in(asked) == REFUSED, "after a wrong answer"
    asked = await options(door, "passkeys/sign-in/options")
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(OneTimeToken).values(expires_at=now()))
    assert await sign_in(asked) == REFUSED, "late"
    assert await sign_in({"challenge": encode(b"\x01" * 32), "rpId": "localhost"}) == REFUSED, "made up"
    ticket, another = await ticket_of(ada), await ticket_of(ada)

    async def go_on(asked: dict[str, Any], ticket: str) -> tuple[int, str]:
        body = {"ticket": ticket, "credential": passkey.answer(asked)}
        return outcome(await door.post("2fa/sign-in", **body))

    async def step_up(asked: dict[str, Any], access: str) -> tuple[int, str]:
        return outcome(await door.post("step-up", access, credential=passkey.answer(asked)))

    assert await sign_in(await options(door, "2fa/options", ticket=ticket)) == REFUSED, "another purpose"
    assert await go_on(await options(door, "passkeys/sign-in/options"), ticket) == REFUSED
    assert await step_up(await options(door, "2fa/options", ticket=ticket), access) == REFUSED
    assert await go_on(await options(door, "2fa/options", ticket=ticket), another) == REFUSED, "another's"
    assert await step_up(await options(door, "step-up/options", other), access) == REFUSED
    assert (await go_on(await options(door, "2fa/options", ticket=ticket), ticket))[0] == 200
    made = Authenticator(ORIGIN).make(await options(door, "passkeys/options", other))
    assert outcome(await door.post("passkeys", access, credential=made)) == REFUSED, "another session's"


@ON_SQLITE
async def test_passkeys_of_others(door: Door) -> None:
    """Somebody else's passkey is no second factor and no proof, and nobody's twice."""
    ada, access, passkey = await person_with(door)
    _, of_eve, eves = await person_with(door)
    ticket = await ticket_of(ada)
    asked = await options(door, "2fa/options", ticket=ticket)
    tries: list[Callable[[], Awaitable[httpx.Response]]] = [
        lambda: door.post("2fa/sign-in", ticket=ticket, credential=eves.answer(asked)),
    ]
    asked_of_ada = await options(door, "step-up/options", access)
    tries.append(lambda: door.post("step-up", access, credential=eves.answer(asked_of_ada)))
    again = Authenticator(ORIGIN, id=passkey.id)
    tries.append(lambda: add(door, of_eve, again))
    for attempt in tries:
        assert outcome(await attempt()) == REFUSED
    assert (await alone(door, passkey)).status_code == 200


async def test_one_answer_on_two_gateways(door: Door, database_url: str) -> None:
    """Of an answer that comes to two gateways at once, one sign-in comes."""
    _, _, passkey = await person_with(door)
    other = Database(database_url)
    try:
        doors = [
            make_auth(each, settings_for(database_url, secret_key=SECRET)).second_step
            for each in (door.grid.database, other)
        ]
        answer = passkey.answer(await doors[0].ask_anybody())
        tries = (each.by_passkey_alone(answer, Visitor("192.0.2.1")) for each in doors * 3)
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(each, PasskeyRefused) for each in found) == 5, found
        [(issued, _)] = [each for each in found if not isinstance(each, BaseException)]
        assert isinstance(issued, Issued)
    finally:
        await other.close()


@ON_SQLITE
async def test_garbage_is_refused(door: Door) -> None:
    """Whatever stands in the fields of a credential, the answer is a refusal that says so."""
    _, access, passkey = await person_with(door)
    garbage: tuple[Any, ...] = ("AA", "=", 7, encode(b"null"))
    for name in ("clientDataJSON", "authenticatorData", "signature", "userHandle"):
        for value in garbage:
            answer = passkey.answer(await options(door, "passkeys/sign-in/options"))
            answer["response"][name] = value
            found = await door.post("passkeys/sign-in", credential=answer)
            assert found.status_code in {401, 422}, (name, value, found.text)
    for value in garbage:
        made = Authenticator(ORIGIN).make(await options(door, "passkeys/options", access))
        made["response"]["attestationObject"] = value
        found = await door.post("passkeys", access, credential=made)
        assert found.status_code in {401, 422}, (value, found.text)
