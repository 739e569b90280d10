"""Making an account, proving its address, and getting back in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from neurogrid.auth.invitations import Invitations
from neurogrid.auth.mails import HOURLY, Mailbox, Outbox
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.tables import Invitation, Mail, OneTimeToken, User
from neurogrid.core.crypto import Keyring
from neurogrid.core.ids import now
from tests.support.door import OTHER, PASSWORD, SECRET, TOKEN, Door
from tests.support.gateway import RunningGateway, Start

pytestmark = pytest.mark.asyncio

SAME = ("type", "title", "status", "detail", "code", "errors")


async def count(grid: RunningGateway, column: Any, *conditions: Any) -> int:
    row = await grid.database.first(select(func.count(column).label("n")).where(*conditions))
    assert row is not None
    return int(row["n"])


async def test_the_whole_way_in(door: Door) -> None:
    """Register, confirm the address by the mail, sign in, submit a task, sign out: and then one is out."""
    ada = await door.register()
    token = await door.mailed(ada.email, "Confirm")
    assert (await door.post("verify-email", token=token)).status_code == 204
    signed_in = await ada.tokens()
    access = signed_in["access_token"]
    me = (await door.get("/v1/auth/me", access)).json()
    assert (me["email"], me["email_verified"], me["role"], me["tier"]) == (ada.email, True, "user", "free")
    assert me["session_id"] == signed_in["session_id"]
    headers = {"Authorization": f"Bearer {access}"}
    task = await door.http.post("/v1/tasks", json={"model": "debug.echo", "input": 1}, headers=headers)
    assert task.status_code == 202
    assert (await door.post("logout", access)).status_code == 204
    assert (await door.get("/v1/auth/me", access)).status_code == 401
    assert (await door.post("refresh", refresh_token=signed_in["refresh_token"])).status_code == 401
    assert (await door.post("logout", access)).status_code == 204, "doing it again changes nothing"


async def test_registering_tells_nothing_of_who_is_here(door: Door) -> None:
    """The answer is the same for a free address and a taken one; whose it is hears of it by mail."""
    ada = await door.register()
    token = await door.mailed(ada.email, "Confirm")
    await door.post("verify-email", token=token)
    fresh = await door.post("register", email="bob@example.org", password=PASSWORD)
    taken = await door.post("register", email=ada.email.upper(), password=OTHER)
    assert (taken.status_code, taken.content) == (fresh.status_code, fresh.content)
    await door.mailed(ada.email, "already")
    assert (await ada.sign_in()).status_code == 200, "the password is the one of before"
    assert (await ada.sign_in(OTHER)).status_code == 401


async def test_mails_cannot_be_heaped_on_anybody(door: Door) -> None:
    """Strangers can have a few mails sent to an address in an hour, and no more."""
    ada = await door.register()
    for _ in range(HOURLY):
        await door.register(ada.email)
        assert (await door.post("password/forgot", email=ada.email)).status_code == 202
    assert await count(door.grid, Mail.id, Mail.recipient == ada.email) == HOURLY


async def test_nobody_registers_as_more_than_a_user(door: Door) -> None:
    """Fields that would raise who registers are refused, not ignored."""
    for extra in ({"role": "admin"}, {"tier": "unlimited"}, {"email_verified_at": "2026-01-01"}, {"id": "x"}):
        answer = await door.post("register", email="eve@example.org", password=PASSWORD, **extra)
        assert answer.status_code == 422
    assert await count(door.grid, User.id) == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "eve@example.org"},
        {"email": "eve", "password": PASSWORD},
        {"email": "a@b\r\nBcc: c@d", "password": PASSWORD},
        {"email": "a@b\u0000", "password": PASSWORD},
        {"email": "x" * 300 + "@b.c", "password": PASSWORD},
        {"email": "eve@example.org", "password": "short"},
        {"email": "eve@example.org", "password": "aaaaaaaaaaaaaaaa"},
        {"email": "eve@example.org", "password": "Eve@Example.Org1"},
        {"email": "eve@example.org", "password": "x1y2z3" * 100},
        {"email": ["eve@example.org"], "password": PASSWORD},
        {"email": "eve@example.org", "password": {"a": 1}},
    ],
    ids=str,
)
async def test_what_cannot_be_an_account(door: Door, body: dict[str, Any]) -> None:
    """Addresses that are none and passwords that anybody would try are 422, and are not repeated."""
    answer = await door.post("register", **body)
    assert answer.status_code == 422
    assert PASSWORD not in answer.text
    assert answer.json()["errors"]


async def test_mailed_tokens_are_used_once(door: Door) -> None:
    """Of many at once one gets it; used, expired, unknown or for something else, a token is worth nothing."""
    ada = await door.register()
    token = await door.mailed(ada.email, "Confirm")
    assert (await door.post("password/reset", token=token, password=OTHER)).status_code == 400
    assert (await door.post("verify-email", token=token[:-1])).status_code == 400
    answers = await asyncio.gather(*(door.post("verify-email", token=token) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400, 400]
    await door.post("password/forgot", email=ada.email)
    reset = await door.mailed(ada.email, "new password")
    async with door.grid.database.transaction() as transaction:
        await transaction.execute(update(OneTimeToken).values(expires_at=now()))
    assert (await door.post("password/reset", token=reset, password=OTHER)).status_code == 400


async def test_only_the_newest_link_works(door: Door) -> None:
    """Who asks twice for a link makes the first one worthless."""
    ada = await door.register()
    for _ in range(2):
        await door.post("password/forgot", email=ada.email)
    await door.mailed(ada.email, "new password", 2)
    first, second = (mail.get_content() for mail in door.mails(ada.email, "new password"))
    tokens = [TOKEN.search(text)[0] for text in (first, second)]  # type: ignore[index]
    assert (await door.post("password/reset", token=tokens[0], password=OTHER)).status_code == 400
    assert (await door.post("password/reset", token=tokens[1], password=OTHER)).status_code == 204


async def test_a_reset_ends_every_session(door: Door) -> None:
    """After a reset the new password works, the old one does not, and whoever was signed in is out."""
    ada = await door.register()
    await door.post("verify-email", token=await door.mailed(ada.email, "Confirm"))
    before = [await ada.tokens() for _ in range(2)]
    assert (await door.post("password/forgot", email=f" {ada.email.upper()}")).status_code == 202
    token = await door.mailed(ada.email, "new password")
    weak = await door.post("password/reset", token=token, password="short")
    assert weak.status_code == 422, "and the token is not used up by that"
    assert (await door.post("password/reset", token=token, password=OTHER)).status_code == 204
    for each in before:
        assert (await door.get("/v1/auth/me", each["access_token"])).status_code == 401
        assert (await door.post("refresh", refresh_token=each["refresh_token"])).status_code == 401
    assert (await ada.sign_in()).status_code == 401
    assert (await ada.sign_in(OTHER)).status_code == 200
    await door.mailed(ada.email, "was changed")


async def test_forgetting_tells_nothing_of_who_is_here(door: Door) -> None:
    """The answer is the same with and without an account, and nothing is mailed to strangers."""
    ada = await door.register()
    known = await door.post("password/forgot", email=ada.email)
    unknown = await door.post("password/forgot", email="nobody@example.org")
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    await door.mailed(ada.email, "new password")
    assert not door.mails("nobody@example.org")


async def test_links_lead_where_the_settings_say(start: Start, tmp_path: Path) -> None:
    """Whatever host a request names, links in mails lead to the grid: a reset cannot be led elsewhere."""
    grid = await start(secret_key=SECRET, public_url="https://grid.example/", mail={"outbox": tmp_path})
    door = Door(grid, await grid.client(), tmp_path)
    ada = await door.register()
    for headers in (
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example"},
        {"Forwarded": "host=evil.example"},
    ):
        answer = await door.http.post("/v1/auth/password/forgot", json={"email": ada.email}, headers=headers)
        assert answer.status_code == 202
    await door.mailed(ada.email, "new password", 3)
    for mail in door.mails(ada.email):
        assert "https://grid.example/" in mail.get_content()
        assert "evil" not in mail.as_string()


async def test_who_has_the_address_takes_over_what_a_squatter_made(door: Door) -> None:
    """Keys and sessions that somebody made before an address was proven end when its owner resets the password."""
    squatter = await door.register("victim@example.org")
    session = await squatter.tokens()
    key = await door.grid.auth.create_key(squatter.email, "mine")
    assert (await door.get("/v1/tasks", key)).status_code == 200
    await door.post("password/forgot", email=squatter.email)
    token = await door.mailed(squatter.email, "new password")
    assert (await door.post("password/reset", token=token, password=OTHER)).status_code == 204
    assert (await door.get("/v1/tasks", session["access_token"])).status_code == 401
    assert (await door.get("/v1/tasks", key)).status_code == 401


async def test_changing_the_password(door: Door) -> None:
    """It takes the present password, and every session ends."""
    ada = await door.register()
    access = (await ada.tokens())["access_token"]
    wrong = await door.post("password", access, current_password=OTHER, new_password=OTHER)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "wrong_credentials")
    weak = await door.post("password", access, current_password=PASSWORD, new_password="short")
    assert (weak.status_code, weak.json()["errors"][0]["field"]) == (422, "new_password")
    right = await door.post("password", access, current_password=PASSWORD, new_password=OTHER)
    assert right.status_code == 204
    assert (await door.get("/v1/auth/me", access)).status_code == 401
    assert (await ada.sign_in(OTHER)).status_code == 200


async def test_a_stolen_session_does_not_guess_the_password(door: Door) -> None:
    """Guesses at the present password are delayed like those at the door."""
    ada = await door.register()
    access = (await ada.tokens())["access_token"]
    codes = [
        (await door.post("password", access, current_password=f"{OTHER}{n}", new_password=OTHER)).status_code
        for n in range(7)
    ]
    assert codes == [401] * 3 + [429] * 4


async def test_mails_wait_sealed_and_are_emptied(start: Start, tmp_path: Path) -> None:
    """Who reads the database finds no token in a mail, neither before nor after it is sent."""
    grid = await start(secret_key=SECRET)
    http = await grid.client()
    await http.post("/v1/auth/register", json={"email": "bob@example.org", "password": PASSWORD})
    waiting = await grid.database.first(select(Mail.body, Mail.sent_at))
    assert waiting is not None
    assert waiting["sent_at"] is None
    assert waiting["body"]
    assert b"ngv_" not in waiting["body"]
    mailbox = Mailbox(grid.database, Keyring([SECRET.encode()]))
    await Outbox(mailbox, tmp_path, "NeuroGrid <grid@example.org>").deliver()
    [file] = tmp_path.glob("*.eml")
    assert TOKEN.search(message_from_bytes(file.read_bytes(), policy=policy.default).get_content())
    assert file.stat().st_mode & 0o777 == 0o600
    sent = await grid.database.first(select(Mail.body, Mail.sent_at))
    assert sent is not None
    assert sent["sent_at"] is not None
    assert not sent["body"]
    await mailbox.forget()
    assert await count(grid, Mail.id) == 1
    async with grid.database.transaction() as transaction:
        await transaction.execute(update(Mail).values(sent_at=now() - timedelta(days=31)))
    await mailbox.forget()
    assert await count(grid, Mail.id) == 0


async def test_tasks_take_a_proven_address(start: Start) -> None:
    """Where the settings ask for it, an unproven address reads and does not submit; a proven one does."""
    grid = await start(secret_key=SECRET, auth={"require_verified_email": True})
    http = await grid.client()
    await http.post("/v1/auth/register", json={"email": "bob@example.org", "password": PASSWORD})
    answer = await http.post("/v1/auth/token", json={"email": "bob@example.org", "password": PASSWORD})
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    task = {"model": "debug.echo", "input": 1}
    refused = await http.post("/v1/tasks", json=task, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "email_not_verified")
    assert (await http.get("/v1/tasks", headers=headers)).status_code == 200
    assert (await http.post("/v1/auth/verify-email/send", headers=headers)).status_code == 202
    async with grid.database.transaction() as transaction:
        await transaction.execute(update(User).values(email_verified_at=now()))
    again = await http.post("/v1/auth/token", json={"email": "bob@example.org", "password": PASSWORD})
    headers = {"Authorization": f"Bearer {again.json()['access_token']}"}
    assert (await http.post("/v1/tasks", json=task, headers=headers)).status_code == 202


async def test_registration_by_invitation(start: Start) -> None:
    """An invitation lets one account in, with the role and tier it was made for, and only at its address."""
    grid = await start(secret_key=SECRET, auth={"registration": "invitation"})
    http = await grid.client()
    invitations = Invitations(grid.database)
    week = timedelta(days=7)
    code = await invitations.make(None, Role.OPERATOR, Tier.PRO, week)
    bound = await invitations.make("ada@example.org", Role.USER, Tier.FREE, week)
    expired = await invitations.make(None, Role.USER, Tier.FREE, -week)

    async def register(email: str, invitation: str | None) -> int:
        body = {"email": email, "password": PASSWORD, "invitation": invitation}
        return int((await http.post("/v1/auth/register", json=body)).status_code)

    for wrong in (None, "", "ngi_x", code[:-1], expired, bound):
        assert await register("eve@example.org", wrong) == 403
    answers = await asyncio.gather(*(register(f"eve{n}@example.org", code) for n in range(4)))
    assert sorted(answers) == [202, 403, 403, 403]
    assert await register("ada@example.org", bound) == 202
    rows = await grid.database.all(select(User.role, User.tier).order_by(User.created_at))
    assert [(row["role"], row["tier"]) for row in rows] == [("operator", "pro"), ("user", "free")]
    assert await count(grid, Invitation.id, Invitation.used_by.is_not(None)) == 2


async def test_registration_closed(start: Start) -> None:
    """Where registration is closed nobody gets in, not even with an invitation."""
    grid = await start(secret_key=SECRET, auth={"registration": "closed"})
    http = await grid.client()
    code = await Invitations(grid.database).make(None, Role.USER, Tier.FREE, timedelta(days=1))
    for extra in ({}, {"invitation": code}):
        body = {"email": "eve@example.org", "password": PASSWORD, **extra}
        answer = await http.post("/v1/auth/register", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "registration_closed")
    assert await count(grid, User.id) == 0
