"""`Idempotency-Key` on every route that creates something (R19)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from websockets.asyncio.client import connect

from neurogrid.app import create_app
from neurogrid.auth.policy import Role
from neurogrid.idempotency.service import Idempotency
from tests.support.gateway import Account, RunningGateway, settings_for

CREATE_NOTHING = {
    "/v1/tasks/quote": "it only says what would be",
    "/v1/tasks/dead-letters/replay": "the tasks are there; only one that is over is run again",
    "/v1/tasks/{id}/cancel": "the task is there",
    "/v1/tasks/{id}/retry": "the task is there; only one that is over is run again",
    "/v1/nodes/{id}/cordon": "the node is there",
    "/v1/nodes/{id}/uncordon": "the node is there",
    "/v1/nodes/{id}/drain": "the node is there",
    "/v1/auth/register": "nobody is known yet whose key it were; an address has one account, and the answer is one",
    "/v1/auth/verify-email": "its token can be used once",
    "/v1/auth/verify-email/send": "mails are limited by themselves",
    "/v1/auth/token": "signing in twice is two sessions, and each is shown",
    "/v1/auth/refresh": "a repetition gets the same successor",
    "/v1/auth/logout": "it ends what is there",
    "/v1/auth/password": "the account is there",
    "/v1/auth/password/forgot": "mails are limited by themselves",
    "/v1/auth/password/reset": "its token can be used once",
    "/v1/auth/oauth/{provider}/link": "an identity is linked once; again, it is there",
    "/v1/auth/oauth/link": "its ticket can be used once",
    "/v1/auth/oauth/link/mail": "mails are limited by themselves",
    "/v1/auth/oauth/identities": "its ticket can be used once",
    "/v1/auth/2fa/totp": "until it is confirmed, a new secret takes the place of the last",
    "/v1/auth/2fa/totp/confirm": "a code counts once",
    "/v1/auth/2fa/recovery-codes": "new codes take the place of the last",
    "/v1/auth/2fa/options": "its challenge is for one answer",
    "/v1/auth/2fa/sign-in": "its ticket can be used once",
    "/v1/auth/step-up/options": "its challenge is for one answer",
    "/v1/auth/step-up": "the session is there",
    "/v1/auth/passkeys": "its challenge is for one answer",
    "/v1/auth/passkeys/options": "its challenge is for one answer",
    "/v1/auth/passkeys/sign-in/options": "its challenge is for one answer",
    "/v1/auth/passkeys/sign-in": "its challenge is for one answer",
    "/v1/admin/users/{id}/lock": "the account is there",
    "/v1/admin/users/{id}/unlock": "the account is there",
}
TOKENS, BULK = "/v1/nodes/tokens", "/v1/tasks/bulk"


def test_every_creating_route_takes_the_key() -> None:
    """A POST takes the header, which its documentation says, or stands above with the reason why not."""
    paths = create_app(settings_for("sqlite+aiosqlite:///nowhere.db")).openapi()["paths"]
    posts = {path: operations["post"] for path, operations in paths.items() if "post" in operations}
    for path, operation in posts.items():
        header = [
            each for each in operation.get("parameters", ()) if each["name"].lower() == "idempotency-key"
        ]
        assert bool(header) is (path not in CREATE_NOTHING), path
        assert not header or ("409" in operation["responses"] and "24 hours" in header[0]["description"])
    assert set(CREATE_NOTHING) <= set(posts)


async def post(account: Account, path: str, body: Any, key: str = "k") -> httpx.Response:
    return await account.http.post(path, json=body, headers={"Idempotency-Key": key})


@pytest.mark.asyncio
async def test_a_token_is_made_once_and_shown_again(grid: RunningGateway) -> None:
    """The same request gets the same token, another body none; the database cannot tell it to anybody."""
    operator = await grid.account(Role.OPERATOR)
    answers = await asyncio.gather(*(post(operator, TOKENS, {"name": "lab"}) for _ in range(30)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len((await operator.http.get(TOKENS)).json()["data"]) == 1
    other = await post(operator, TOKENS, {"name": "other"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    (kept,) = await grid.database.all(text("SELECT digest, headers, body FROM idempotent_responses"))
    secret = answers[0].json()["token"]
    assert secret.encode() not in kept["body"]
    assert b"lab" not in kept["body"]


@pytest.mark.asyncio
async def test_a_secret_is_shown_to_its_credential_only(grid: RunningGateway) -> None:
    """Another key of the same user learns that the token was made, and neither gets it nor makes another."""
    operator = await grid.account(Role.OPERATOR)
    assert (await post(operator, TOKENS, {})).status_code == 201
    other = await grid.client(await grid.auth.create_key(operator.email, "other"))
    refused = await other.post(TOKENS, json={}, headers={"Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert "token" not in refused.json()
    assert len((await operator.http.get(TOKENS)).json()["data"]) == 1


@pytest.mark.asyncio
async def test_a_wrong_request_leaves_its_key_free(sqlite_grid: RunningGateway) -> None:
    """What was refused made nothing: the key can be taken for the request put right."""
    operator = await sqlite_grid.account(Role.OPERATOR)
    assert (await post(operator, TOKENS, {"expires_at": "2020-01-01T00:00:00Z"})).status_code == 422
    assert (await post(operator, TOKENS, {})).status_code == 201


@pytest.mark.asyncio
async def test_an_announcement_is_heard_once(sqlite_grid: RunningGateway) -> None:
    """Repeated with its key, an announcement is answered alike and not published again."""
    admin = await sqlite_grid.account(Role.ADMIN)
    url = sqlite_grid.url.replace("http", "ws") + "/v1/ws"
    headers = {"Authorization": f"Bearer {admin.key}"}
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        await socket.send('{"type":"subscribe","channel":"system"}')
        while orjson.loads(await socket.recv())["type"] != "subscribed":
            pass
        path = "/v1/admin/announcements"
        first, again = [await post(admin, path, {"message": "once"}) for _ in range(2)]
        await post(admin, path, {"message": "the end"}, "other")
        heard = [orjson.loads(await socket.recv())["event"]["message"] for _ in range(2)]
    assert (again.status_code, again.json()) == (201, first.json())
    assert heard == ["once", "the end"]


def rows(count: int) -> dict[str, Any]:
    return {"tasks": [{"model": "debug.echo", "input": number} for number in range(count)]}


async def tasks_of(account: Account) -> list[str]:
    return [task["id"] for task in (await account.http.get("/v1/tasks?limit=100")).json()["data"]]


@pytest.mark.asyncio
async def test_a_bulk_is_accepted_once(ada: Account, eve: Account) -> None:
    """A hundred equal requests with one key make its tasks once, and all are told which; another body is refused."""
    body = {"tasks": [*rows(5)["tasks"], {"model": "nothing", "input": 1}, "no task"]}
    answers = await asyncio.gather(*(post(ada, BULK, body) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    told = {tuple(row["task"]["id"] for row in answer.json()["data"][:5]) for answer in answers}
    assert len(told) == 1
    assert sorted(told.pop()) == sorted(await tasks_of(ada))
    assert len({orjson.dumps(answer.json()["data"][5:]) for answer in answers}) == 1
    assert {(answer.json()["accepted"], answer.json()["refused"]) for answer in answers} == {(5, 2)}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 99
    other = await post(ada, BULK, rows(6))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len(await tasks_of(ada)) == 5
    assert (await post(eve, BULK, body)).json()["accepted"] == 5


@pytest.mark.asyncio
async def test_a_bulk_that_was_cut_off_is_completed(ada: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """R19: a request whose process ended before its answer was written finds its tasks when it comes again."""

    async def end(*_: Any) -> bool:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(Idempotency, "_keep", end)
        assert (await post(ada, BULK, rows(20))).status_code == 503
    made = await tasks_of(ada)
    assert len(made) == 20
    again = (await post(ada, BULK, rows(20))).json()
    assert sorted(row["task"]["id"] for row in again["data"]) == sorted(made) == sorted(await tasks_of(ada))


@pytest.mark.asyncio
async def test_a_bulk_shows_its_tasks_as_they_are_now(ada: Account) -> None:
    """Repeated, a bulk is answered with what became of its tasks; one that was deleted is absent."""
    first = (await post(ada, BULK, rows(2))).json()["data"]
    for row in first:
        await ada.reaches(row["task"]["id"], "completed")
    assert (await ada.http.delete(f"/v1/tasks/{first[1]['task']['id']}")).status_code == 204
    again = (await post(ada, BULK, rows(2))).json()
    assert (again["accepted"], again["data"][0]["task"]["output"]) == (2, 0)
    assert again["data"][1] == {"status": "accepted", "task": None}
