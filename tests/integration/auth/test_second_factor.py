"""Authenticator apps and recovery codes: what they let in, and what they do not."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from neurogrid.auth.parts import make_auth
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.secondstep import SignInExpired, WrongCode
from neurogrid.auth.sessions import Issued
from neurogrid.auth.tables import AuditEntry, RecoveryCode, SignInFailure, User, UserTotp
from neurogrid.auth.visitors import Visitor
from neurogrid.core.db import Database
from neurogrid.core.errors import Unauthenticated
from neurogrid.core.ids import new_id, now
from tests.support.door import OTHER, PASSWORD, SECRET, Door
from tests.support.gateway import running, settings_for
from tests.support.phone import Phone, Time, second, ticket_of, with_phone

pytestmark = pytest.mark.asyncio

WRONG = (401, "wrong_code")
EXPIRED = (401, "sign_in_expired")
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what the databases do not differ in."""


async def later(database: Database, seconds: float) -> None:
    """Let the counted failures be longer ago."""
    async with database.transaction() as transaction:
        for row in (await transaction.execute(select(SignInFailure))).scalars():
            row.last_at -= timedelta(seconds=seconds)
            if row.blocked_until is not None:
                row.blocked_until -= timedelta(seconds=seconds)


async def test_two_steps(door: Door, time: Time) -> None:
    """With an app the password opens a second step alone, whose ticket is good for that, and once."""
    ada = await door.register()
    elsewhere, here = await ada.tokens(), (await ada.tokens())["access_token"]
    made = (await door.post("2fa/totp", here)).json()
    assert made["uri"].startswith("otpauth://totp/NeuroGrid:")
    assert made["secret"] in made["uri"]
    assert made["qr_svg"].startswith("<svg xmlns="), "an image on its own, without a page around it"
    assert (await ada.sign_in()).status_code == 200, "what is not confirmed keeps nobody out"
    phone = await with_phone(time, door, here)
    assert len(phone.codes) == 10
    state = (await door.get("/v1/auth/2fa", here)).json()
    assert (state["totp"], state["passkeys"], state["recovery_codes_left"]) == (True, 0, 10)
    refused = await door.get("/v1/auth/me", elsewhere["access_token"])
    assert refused.status_code == 401, "sessions begun by the password alone have ended"
    ticket = await ticket_of(ada)
    assert (await door.get("/v1/auth/me", ticket)).status_code == 401
    assert (await door.post("refresh", refresh_token=ticket)).status_code == 401
    assert (await door.post("verify-email", token=ticket)).status_code == 400
    done = await door.post("2fa/sign-in", ticket=ticket, code=phone.fresh())
    assert done.status_code == 200
    listed = (await door.get("/v1/auth/sessions", done.json()["access_token"])).json()["data"]
    assert [each["methods"] for each in listed if each["current"]] == [["password", "totp"]]
    assert await second(door, ticket, phone.fresh()) == EXPIRED
    [row] = await door.grid.database.all(select(UserTotp.secret))
    assert phone.secret.encode() not in row["secret"]
    hashes = await door.grid.database.all(select(RecoveryCode.hash))
    assert not {row["hash"] for row in hashes} & set(phone.codes)


@ON_SQLITE
async def test_a_code_is_good_once(door: Door, time: Time) -> None:
    """Neither a code that was taken nor an older one is taken, in a sign-in or a step-up; clocks may be a step off."""
    ada = await door.register()
    access = (await ada.tokens())["access_token"]
    phone = await with_phone(time, door, access)
    assert await second(door, await ticket_of(ada), phone.code()) == WRONG, "it confirmed the app"
    code = phone.code(1)
    assert (await second(door, await ticket_of(ada), code))[0] == 200, "a phone that is ahead"
    assert await second(door, await ticket_of(ada), code) == WRONG
    assert (await door.post("step-up", access, code=code)).json()["code"] == "wrong_code"
    assert await second(door, await ticket_of(ada), phone.code()) == WRONG, "older than one taken"
    time.step(10)
    assert await second(door, await ticket_of(ada), phone.code(-2)) == WRONG
    assert await second(door, await ticket_of(ada), phone.code(2)) == WRONG
    await later(door.grid.database, 3601)
    assert (await second(door, await ticket_of(ada), phone.code(-1)))[0] == 200, "a phone that is behind"


async def test_one_code_on_two_gateways(door: Door, time: Time, database_url: str) -> None:
    """Of a code, and of a ticket, that meet at two gateways, one sign-in comes."""
    ada = await door.register()
    phone = await with_phone(time, door, (await ada.tokens())["access_token"])
    tickets = [await ticket_of(ada) for _ in range(4)]
    code, visitor = phone.fresh(), Visitor("192.0.2.1")
    other = Database(database_url)
    try:
        doors = [
            make_auth(each, settings_for(database_url, secret_key=SECRET)).second_step
            for each in (door.grid.database, other)
        ]
        # So many as are judged before the next has to wait.
        tries = [doors[at % 2].by_code(ticket, code, visitor) for at, ticket in enumerate(tickets)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(each, BaseException) for each in found) == 1, found
        assert sum(isinstance(each, WrongCode) for each in found) == 3, found
        await later(door.grid.database, 3601)
        ticket, codes = await ticket_of(ada), [phone.codes[0], phone.codes[1]]
        tries = [each.by_code(ticket, code, visitor) for each, code in zip(doors, codes, strict=True)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(each, SignInExpired) for each in found) == 1, found
    finally:
        await other.close()


@ON_SQLITE
async def test_codes_cannot_be_guessed(door: Door, time: Time) -> None:
    """A ticket dies of five wrong codes and a new one helps nobody: the account's next guesses wait. The owner is told."""
    ada, eve = await door.register(), await door.register()
    phone = await with_phone(time, door, (await ada.tokens())["access_token"])
    of_eve = await with_phone(time, door, (await eve.tokens())["access_token"])
    ticket, another = await ticket_of(ada), await ticket_of(ada)
    wrong = [of_eve.fresh(), "000000", "abc", of_eve.codes[0], ""]
    assert [await second(door, ticket, code) for code in wrong] == [WRONG] * 5
    assert await second(door, ticket, phone.code()) == EXPIRED, "a ticket that had its tries"
    assert (await second(door, another, phone.code()))[0] == 429
    await door.mailed(ada.email, "may know your password")
    assert door.mails(eve.email, "may know your password") == []
    assert (await second(door, await ticket_of(eve), of_eve.code()))[0] == 200, "others are not held up"
    await later(door.grid.database, 16)
    assert (await second(door, another, phone.code()))[0] == 200
    tickets = [await ticket_of(ada) for _ in range(12)]
    time.step()
    found = await asyncio.gather(*(second(door, each, "000000") for each in tickets))
    assert found.count(WRONG) == 5, "as many at once are no more than one after the other"


@ON_SQLITE
async def test_recovery_codes(door: Door, time: Time) -> None:
    """Each lets in once, however it is typed; it is counted, mailed and written down; new ones replace all."""
    ada = await door.register()
    access = (await ada.tokens())["access_token"]
    phone = await with_phone(time, door, access)
    code = phone.codes[0]
    typed = code.upper().replace("-", " ").replace("0", "O").replace("1", "I")
    assert (await second(door, await ticket_of(ada), typed))[0] == 200
    assert await second(door, await ticket_of(ada), code) == WRONG
    assert (await door.get("/v1/auth/2fa", access)).json()["recovery_codes_left"] == 9
    await door.mailed(ada.email, "recovery code was used")
    assert "9 are left" in door.mails(ada.email, "recovery code was used")[-1].get_content()
    noted = select(AuditEntry.details).where(AuditEntry.action == "recovery_code.used")
    assert [row["details"] for row in await door.grid.database.all(noted)] == ['{"left":9}']
    renewed = (await door.post("2fa/recovery-codes", access)).json()["recovery_codes"]
    assert len(set(renewed) | set(phone.codes)) == 20
    assert await second(door, await ticket_of(ada), phone.codes[1]) == WRONG
    assert (await second(door, await ticket_of(ada), renewed[1]))[0] == 200
    gone = await door.http.delete("/v1/auth/2fa/totp", headers={"Authorization": f"Bearer {access}"})
    assert gone.status_code == 204
    await door.mailed(ada.email, "was removed")
    assert (await door.get("/v1/auth/2fa", access)).json()["recovery_codes_left"] == 0
    assert (await ada.sign_in()).status_code == 200


@ON_SQLITE
async def test_in_one_request(door: Door, time: Time) -> None:
    """OAuth2's form, as Swagger's *Authorize* sends it, takes the code as the client's secret; JSON takes it as `code`."""
    ada = await door.register()
    phone = await with_phone(time, door, (await ada.tokens())["access_token"])
    form = {"grant_type": "password", "username": ada.email, "password": PASSWORD}

    def basic(secret: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f":{secret}".encode()).decode()}

    async def authorize(headers: dict[str, str], **more: str) -> tuple[int, str]:
        answer = await door.http.post("/v1/auth/token", data={**form, **more}, headers=headers)
        return answer.status_code, answer.json().get("code", "")

    for lacking in ({}, basic(""), {"Authorization": "Basic !"}):
        assert await authorize(lacking) == (403, "mfa_required")
    assert (await authorize(basic(phone.fresh())))[0] == 200
    assert (await authorize({}, client_secret=phone.fresh()))[0] == 200
    assert (await authorize(basic(phone.codes[0])))[0] == 200
    assert (await ada.sign_in(code=phone.fresh())).status_code == 200
    assert (await ada.sign_in(code=phone.code())).json()["code"] == "wrong_code"
    wrong = await ada.sign_in(OTHER, code=phone.fresh())
    assert wrong.json()["code"] == "wrong_credentials", "a right code tells nothing of the password"


@ON_SQLITE
async def test_no_way_around(door: Door, time: Time) -> None:
    """Neither a new password nor a lost e-mail account nor an old ticket does without the second factor."""
    ada = await door.register()
    await door.post("verify-email", token=await door.mailed(ada.email, "Confirm"))
    access = (await ada.tokens())["access_token"]
    phone = await with_phone(time, door, access)
    old = await ticket_of(ada)
    changed = await door.post("password", access, current_password=PASSWORD, new_password=OTHER)
    assert changed.status_code == 204
    assert await second(door, old, phone.fresh()) == EXPIRED
    await door.post("password/forgot", email=ada.email)
    token = await door.mailed(ada.email, "Choose a new password")
    assert (await door.post("password/reset", token=token, password=PASSWORD)).status_code == 204
    ticket = await ticket_of(ada)
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(User).values(disabled_at=now()))
    assert await second(door, ticket, phone.fresh()) == EXPIRED


@ON_SQLITE
async def test_a_squatters_factor_goes(door: Door, time: Time) -> None:
    """Who made an account with somebody else's address cannot keep its owner out by a factor of their own."""
    eve = await door.register()
    await with_phone(time, door, (await eve.tokens())["access_token"])
    await door.post("password/forgot", email=eve.email)
    token = await door.mailed(eve.email, "Choose a new password")
    assert (await door.post("password/reset", token=token, password=OTHER)).status_code == 204
    assert (await eve.sign_in(OTHER)).status_code == 200


@ON_SQLITE
async def test_roles_that_take_one(database_url: str, tmp_path: Path, time: Time) -> None:
    """Without the factor that the role takes, neither session nor key nor WebSocket does anything but set one up."""
    auth = {"second_factor_roles": ["admin"]}
    async with running(
        database_url, secret_key=SECRET, nodes=False, mail={"outbox": tmp_path}, auth=auth
    ) as grid:
        door = Door(grid, await grid.client(), tmp_path)
        email = f"{new_id()}@example.org"
        await grid.auth.create_user(email, Role.ADMIN, Tier.PRO, PASSWORD)
        key = await grid.auth.create_key(email, "test")
        answer = await door.post("token", email=email, password=PASSWORD)
        access = answer.json()["access_token"]
        for credential in (access, key):
            for path in ("/v1/tasks", "/v1/admin/users", "/v1/keys", "/v1/models"):
                refused = await door.get(path, credential)
                assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required"), path
            me = (await door.get("/v1/auth/me", credential)).json()
            assert (me["second_factor_required"], me["permissions"]) == (
                True,
                ["account:read", "account:write"],
            )
        phone: Phone = await with_phone(time, door, access)
        assert (await door.get("/v1/admin/users", access)).status_code == 200
        assert (await door.get("/v1/admin/users", key)).status_code == 200
        headers = {"Authorization": f"Bearer {access}"}
        assert (await door.http.delete("/v1/auth/2fa/totp", headers=headers)).status_code == 204
        assert (await door.get("/v1/admin/users", access)).status_code == 403
        bob = await grid.account()
        assert (await bob.http.get("/v1/tasks")).status_code == 200, "other roles are not asked"
        assert phone.codes


@ON_SQLITE
async def test_secrets_follow_the_key(database_url: str, time: Time) -> None:
    """A secret sealed by the key before is sealed anew when it is used, and then that key may go."""
    database = Database(database_url)
    second_key = SECRET[::-1]
    visitor = Visitor("192.0.2.1")
    try:
        old = make_auth(database, settings_for(database_url, secret_key=SECRET))
        user = await old.service.create_user("ada@example.org", Role.USER, Tier.FREE, PASSWORD)
        issued = await old.sign_in.by_password("ada@example.org", PASSWORD, visitor)
        assert isinstance(issued, Issued)
        identity = await old.service.identify(issued.access_token)
        phone = Phone(time, (await old.factors.enrol(identity)).secret, [])
        await old.factors.confirm(identity, phone.code(), visitor)
        both = {"secret_key": second_key, "auth": {"previous_secret_keys": [SECRET]}}
        for settings, taken in (
            (both, True),
            ({"secret_key": second_key}, True),
            ({"secret_key": SECRET}, False),
        ):
            auth = make_auth(database, settings_for(database_url, **settings))
            step = auth.second_step.by_password("ada@example.org", PASSWORD, phone.fresh(), visitor)
            if taken:
                assert isinstance(await step, Issued)
            else:
                with pytest.raises(Unauthenticated):
                    await step
        assert user
    finally:
        await database.close()
