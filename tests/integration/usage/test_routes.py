"""`/v1/usage`, and what administrators see and set (LIM-7)."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from neurogrid.auth.policy import Role, Tier
from neurogrid.core.ids import new_id, now
from neurogrid.core.settings_limits import FreeLimits
from neurogrid.queue.tables import UsageDelta
from neurogrid.usage import export
from tests.support.gateway import Account, RunningGateway, Start
from tests.support.limits import GENEROUS
from tests.support.until import until
from tests.support.usage import adds_up

pytestmark = pytest.mark.asyncio


async def asked(account: Account, path: str = "", **params: Any) -> Any:
    answer = await account.http.get(f"/v1/usage{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_was_used(sqlite_grid: RunningGateway) -> None:
    """Tasks are there as soon as their owner hears of them: by day, model and key, in all, and in the month."""
    ada = await sqlite_grid.account()
    for model in ("debug.echo", "debug.echo", "debug.fail"):
        await ada.reaches(
            await ada.submit(model, {"message": "no"} if model == "debug.fail" else "hi"),
            "completed",
            "failed",
        )
    today = now().date()
    models = await asked(ada, group_by="model")
    assert [(row["model"], row["requests"]) for row in models["data"]] == [
        ("debug.echo", 2),
        ("debug.fail", 1),
    ]
    assert models["total"]["requests"] == 3
    assert models["total"]["compute_seconds"] > 0
    keys = await asked(ada, group_by="key")
    assert [(row["key_name"], row["requests"]) for row in keys["data"]] == [("test", 3)]
    days = await asked(ada, **{"from": str(today), "to": str(today)})
    assert (days["from"], days["to"], days["user_id"]) == (str(today), str(today), ada.id)
    month = await asked(ada, "/month")
    assert month["tasks"]["used"] == 3
    assert month["resets_at"] > str(today)
    await adds_up(sqlite_grid.database)


async def test_others_usage_is_their_own(sqlite_grid: RunningGateway) -> None:
    """Nobody but an administrator sees what others used, or sets quotas; ids do not help."""
    ada, eve = await sqlite_grid.account(), await sqlite_grid.account()
    await ada.submit("debug.echo")
    assert (await asked(eve))["total"]["requests"] == 0
    for who in (ada.id, "all", new_id()):
        for path in ("", "/export"):
            answer = await eve.http.get(f"/v1/usage{path}", params={"user": who})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    quota = f"/v1/admin/users/{eve.id}/quota"
    assert (await eve.http.put(quota, json={"tasks": -1})).status_code == 403
    for path in (quota, "/v1/admin/usage/top"):
        assert (await eve.http.get(path)).status_code == 403
    admin = await sqlite_grid.account(Role.ADMIN)
    assert (await asked(admin, user=ada.id))["total"]["requests"] == 1
    assert (await asked(admin, user="all"))["total"]["requests"] == 1
    assert (await admin.http.get("/v1/usage", params={"user": new_id()})).status_code == 404
    assert (await admin.http.put(f"/v1/admin/users/{new_id()}/quota", json={})).status_code == 404
    top = (await admin.http.get("/v1/admin/usage/top", params={"by": "requests"})).json()
    assert [(row["email"], row["requests"]) for row in top["data"]] == [(ada.email, 1)]


WRONG = (
    {"from": "2026-02-30"},
    {"from": "2026-03-01", "to": "2026-02-01"},
    {"from": "2020-01-01", "to": "2026-01-01"},
    {"to": "9999-12-31"},
    {"from": "9999-12-31"},
    {"group_by": "user"},
    {"user": "' OR 1=1"},
)


async def test_what_cannot_be_asked(sqlite_grid: RunningGateway) -> None:
    """Days that do not exist, are in the wrong order, too many or too late are refused with a name, never a 500."""
    ada = await sqlite_grid.account()
    for params in WRONG:
        answer = await ada.http.get("/v1/usage", params=params)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), params


async def test_csv(grid: RunningGateway, ada: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has one row by day, key and model, in pieces that join without gap; no cell is a formula."""
    monkeypatch.setattr(export, "AT_ONCE", 10)
    await ada.http.post("/v1/keys", json={"name": '=HYPERLINK("http://evil")'})
    key = (await ada.http.get("/v1/keys")).json()["data"][0]["id"]
    nothing = {"prompt_tokens": 2, "completion_tokens": 3, "compute_us": 1_500_000}
    async with grid.database.transaction() as transaction:
        for number in range(21):
            transaction.add(
                UsageDelta(
                    user_id=ada.id,
                    key_id=key,
                    model=f"@m{number:04}",
                    day=now().date(),
                    requests=1,
                    **nothing,
                )
            )
    answer = await ada.http.get("/v1/usage/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert len(rows) == len({tuple(row) for row in rows}) == 21
    first = dict(zip(head, rows[0], strict=True))
    assert (first["key_name"], first["model"]) == ('\'=HYPERLINK("http://evil")', "'@m0000")
    assert (first["requests"], first["total_tokens"], first["compute_seconds"]) == ("1", "5", "1.500000")


async def test_a_quota_used_up(start: Start) -> None:
    """Submissions, bulk rows and replays are refused with code and reset until an administrator gives more."""
    free = FreeLimits(requests="", tasks="", tokens="", monthly_tasks=2)
    gateway = await start(limits=GENEROUS.model_copy(update={"free": free}))
    ada, admin = await gateway.account(tier=Tier.FREE), await gateway.account(Role.ADMIN)
    failed = await ada.submit("debug.fail", {"message": "no"})
    await ada.reaches(failed, "failed")
    body = {"model": "debug.echo", "input": "hi"}
    bulk = (await ada.http.post("/v1/tasks/bulk", json={"tasks": [body] * 3})).json()
    codes = [row.get("error", {}).get("code") for row in bulk["data"]]
    assert codes == [None, "quota_exceeded", "quota_exceeded"]
    answer = await ada.http.post("/v1/tasks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert 0 < int(answer.headers["retry-after"]) <= 31 * 86400
    again = await ada.http.post(f"/v1/tasks/{failed}/retry")
    replay = await ada.http.post("/v1/tasks/dead-letters/replay", json={"ids": [failed]})
    assert {(each.status_code, each.json()["code"]) for each in (again, replay)} == {(429, "quota_exceeded")}
    assert (await asked(ada, "/month"))["tasks"] == {"used": 2, "quota": 2, "remaining": 0, "percent": 100.0}
    path = f"/v1/admin/users/{ada.id}/quota"
    set_ = (await admin.http.put(path, json={"tasks": 3, "tokens": 0})).json()
    assert (set_["own"]["tasks"], set_["tokens"]["quota"]) == (3, 0)
    again = await ada.http.post(f"/v1/tasks/{failed}/retry")
    assert (again.status_code, again.json()["code"]) == (429, "quota_exceeded")
    assert (await admin.http.put(path, json={"tasks": 3})).status_code == 200
    assert (await ada.http.post("/v1/tasks", json=body)).status_code == 202
    assert (await admin.http.put(path, json={})).json()["own"] is None
    log = (await admin.http.get("/v1/admin/audit", params={"action": "quota.*"})).json()["data"]
    assert [entry["action"] for entry in log] == ["quota.reset", "quota.set", "quota.set"]


async def test_a_gateway_rolls_up(
    sqlite_grid: RunningGateway,
) -> None:
    """Nothing stays in the deltas for long."""
    ada = await sqlite_grid.account()
    await ada.reaches(await ada.submit("debug.echo"), "completed")

    async def empty() -> bool:
        return not await sqlite_grid.database.all(UsageDelta.__table__.select())

    await until(empty, what="the deltas are rolled up")
    assert (await asked(ada))["total"]["requests"] == 1
    await adds_up(sqlite_grid.database)
