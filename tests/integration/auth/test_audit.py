"""The audit log: what is in it, and that nobody changes it unseen (AUTH-8)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from neurogrid.auth.audit import Audit, Wanted, hash_of
from neurogrid.auth.policy import Role
from neurogrid.auth.tables import AuditEntry, AuditHead
from neurogrid.core.db import Database
from tests.support.door import OTHER, PASSWORD, Door
from tests.support.gateway import RunningGateway

pytestmark = pytest.mark.asyncio

CHANGED = {
    "at": None,
    "actor": "0190b0f0-0000-7000-8000-000000000000",
    "via": "server",
    "action": "user.unlocked",
    "target": None,
    "address": "192.0.2.1",
    "details": '{"n":99}',
    "previous": "0" * 64,
    "hash": "0" * 64,
}


@pytest.fixture
def database(database_url: str) -> Database:
    """A database; the test runs once on each kind."""
    return Database(database_url)


async def write(database: Database, count: int, at_once: int = 1) -> Audit:
    """Write so many entries, so many at once."""
    audit = Audit(database)
    turns = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with turns, database.transaction() as transaction:
            await audit.note(transaction, "test.done", None, "target", "127.0.0.1", {"n": number})

    await asyncio.gather(*(one(number) for number in range(count)))
    return audit


async def alter(database: Database, *statements: Any) -> None:
    async with database.transaction() as transaction:
        for statement in statements:
            await transaction.execute(statement)


async def test_entries_written_at_once_are_one_chain(database: Database) -> None:
    """Many writers at the same time leave one chain without gap or fork."""
    audit = await write(database, 40, at_once=8)
    verdict = await audit.verify()
    assert (verdict.seq, verdict.problem) == (40, None)
    noted = {row["details"] for row in await audit.page(Wanted(), None, 100)}
    assert len(noted) == 40
    await database.close()


async def test_an_act_that_fails_leaves_no_entry(database: Database) -> None:
    """The entry is part of the act's transaction: undone, it leaves no trace and no gap."""
    audit = await write(database, 2)

    async def fail() -> None:
        async with database.transaction() as transaction:
            await audit.note(transaction, "test.undone", None)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    await write(database, 1)
    verdict = await audit.verify()
    assert (verdict.seq, verdict.problem) == (3, None)
    await database.close()


@pytest.mark.parametrize("column", sorted(CHANGED))
async def test_a_changed_entry_is_found(database: Database, column: str) -> None:
    """Whatever of an entry is changed, the walk stops before it and names it."""
    audit = await write(database, 5)
    value = CHANGED[column]
    if column == "at":
        row = await database.first(select(AuditEntry.at).where(AuditEntry.seq == 1))
        assert row is not None
        value = row["at"]
    await alter(database, update(AuditEntry).where(AuditEntry.seq == 3).values({column: value}))
    verdict = await audit.verify()
    assert verdict.seq == 2
    assert verdict.problem is not None
    assert "entry 3" in verdict.problem
    await database.close()


async def test_a_rehashed_entry_is_found(database: Database) -> None:
    """Changed and hashed anew, the entry no longer fits the one after it; the last one, not the newest hash."""
    audit = await write(database, 5)
    for seq, sound in ((3, 3), (5, 2)):
        row = await database.first(select(AuditEntry.__table__).where(AuditEntry.seq == seq))
        assert row is not None
        forged = {**row, "action": "test.forged"}
        await alter(
            database,
            update(AuditEntry)
            .where(AuditEntry.seq == seq)
            .values(action="test.forged", hash=hash_of(forged)),
        )
        verdict = await audit.verify()
        assert verdict.problem is not None
        if seq == 3:
            assert (verdict.seq, "entry 4" in verdict.problem) == (sound, True)
            await alter(database, update(AuditEntry).where(AuditEntry.seq == 3).values(**dict(row)))
            assert (await audit.verify()).problem is None
    await database.close()


@pytest.mark.parametrize(("gone", "named"), [(1, 1), (3, 3), (5, 5)])
async def test_a_deleted_entry_is_found(database: Database, gone: int, named: int) -> None:
    """An entry taken out is missed: the first, one in the middle, and the last."""
    audit = await write(database, 5)
    await alter(database, delete(AuditEntry).where(AuditEntry.seq == gone))
    verdict = await audit.verify()
    assert verdict.problem is not None
    assert (verdict.seq, f"entry {named} is missing" in verdict.problem) == (named - 1, True)
    await database.close()


async def test_a_cut_off_log_is_found(database: Database) -> None:
    """The end of the log, or all of it, cannot be cut off: the newest hash stands apart."""
    audit = await write(database, 5)
    noted = await audit.verify()
    await alter(database, delete(AuditEntry).where(AuditEntry.seq > 2))
    verdict = await audit.verify()
    assert (verdict.seq, verdict.problem) == (2, "entry 3 is missing: the log was cut off, it had 5 entries")
    row = await database.first(select(AuditEntry.hash).where(AuditEntry.seq == 2))
    assert row is not None
    await alter(database, update(AuditHead).values(seq=2, hash=row["hash"]))
    assert (await audit.verify()).problem is None, "whoever rewrites all of it, rewrites the newest hash too"
    assert (await audit.verify((noted.seq, noted.hash))).problem is not None, (
        "but not what was noted elsewhere"
    )
    await alter(database, delete(AuditEntry))
    assert (await audit.verify()).problem is not None
    await alter(database, delete(AuditHead))
    assert (await audit.verify()).problem is not None
    await database.close()


async def test_moved_entries_are_found(database: Database) -> None:
    """Two entries that change places, and all that are renumbered over a deleted one, break the chain."""
    audit = await write(database, 5)
    for old, new in ((2, 99), (3, 2), (99, 3)):
        await alter(database, update(AuditEntry).where(AuditEntry.seq == old).values(seq=new))
    assert (await audit.verify()).seq == 1
    for old, new in ((2, 99), (3, 2), (99, 3)):
        await alter(database, update(AuditEntry).where(AuditEntry.seq == old).values(seq=new))
    assert (await audit.verify()).problem is None
    await alter(database, delete(AuditEntry).where(AuditEntry.seq == 2))
    for seq in (3, 4, 5):
        await alter(database, update(AuditEntry).where(AuditEntry.seq == seq).values(seq=seq - 1))
    await alter(database, update(AuditHead).values(seq=4))
    assert (await audit.verify()).seq == 1
    await database.close()


async def test_an_added_entry_is_found(database: Database) -> None:
    """An entry put at the end without the newest hash is one too many."""
    audit = await write(database, 2)
    row = await database.first(select(AuditEntry.__table__).where(AuditEntry.seq == 2))
    assert row is not None
    made_up = {**row, "seq": 3, "previous": row["hash"]}
    made_up["hash"] = hash_of(made_up)
    await alter(database, insert(AuditEntry).values(**made_up))
    verdict = await audit.verify()
    assert (verdict.seq, verdict.problem is not None) == (3, True)
    await database.close()


# --- what is written down ----------------------------------------------------------------------


async def entries(grid: RunningGateway, **wanted: str) -> list[Any]:
    """Return the entries that an administrator sees."""
    admin = await grid.account(Role.ADMIN)
    answer = await admin.http.get("/v1/admin/audit", params={"limit": "200", **wanted})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]
    return found


async def test_signing_in_and_out_is_written_down(door: Door) -> None:
    """Sessions that begin and end, failures at known and unknown accounts, and passwords, with who and from where."""
    ada = await door.register()
    assert (await ada.sign_in(OTHER)).status_code == 401
    assert (await door.post("token", email="nobody@example.org", password=PASSWORD)).status_code == 401
    first, second = await ada.tokens(), await ada.tokens()
    me = (await door.get("/v1/auth/me", first["access_token"])).json()["id"]
    await door.post("logout", first["access_token"])
    await door.post("password", second["access_token"], current_password=PASSWORD, new_password=OTHER)
    found = [each for each in await entries(door.grid) if each["via"] != "server"]
    told = [(each["action"], each["actor"], each["target"]) for each in reversed(found)]
    assert told == [
        ("sign_in.failed", None, me),
        ("sign_in.failed", None, None),
        ("session.began", me, first["session_id"]),
        ("session.began", me, second["session_id"]),
        ("session.signed_out", me, first["session_id"]),
        ("password.changed", me, me),
    ]
    assert {each["address"] for each in found} == {"127.0.0.1"}
    assert found[0]["via"] == f"session {second['session_id']}"
    assert (await door.grid.auth._audit.verify()).problem is None


async def test_a_reused_refresh_token_is_written_down(door: Door) -> None:
    """What may be a theft is in the log, with the session that it ended."""
    ada = await door.register()
    tokens = await ada.tokens()
    newer = (await door.post("refresh", refresh_token=tokens["refresh_token"])).json()
    await door.post("refresh", refresh_token=newer["refresh_token"])
    await door.post("refresh", refresh_token=tokens["refresh_token"])
    found = await entries(door.grid, action="session.token_reused")
    assert [each["target"] for each in found] == [tokens["session_id"]]


async def test_what_operators_do_is_written_down(grid: RunningGateway) -> None:
    """Keys, node tokens, orders to nodes and announcements, each with its doer, credential and target."""
    admin = await grid.account(Role.ADMIN)
    http = admin.http
    key = (await http.post("/v1/keys", json={"name": "k"})).json()
    fresh = (await http.post(f"/v1/keys/{key['id']}/rotate")).json()
    await http.delete(f"/v1/keys/{fresh['id']}")
    await http.delete(f"/v1/keys/{fresh['id']}")
    token = (await http.post("/v1/nodes/tokens", json={})).json()
    await http.delete(f"/v1/nodes/tokens/{token['id']}")
    node = (await http.get("/v1/nodes")).json()["data"][0]["id"]
    for order in ("cordon", "uncordon", "drain"):
        assert (await http.post(f"/v1/nodes/{node}/{order}")).status_code == 200
    assert (await http.delete(f"/v1/nodes/{node}")).status_code == 204
    said = (await http.post("/v1/admin/announcements", json={"message": "Hello"})).json()
    found = await entries(grid, actor=admin.id)
    assert [(each["action"], each["target"]) for each in reversed(found)] == [
        ("key.created", key["id"]),
        ("key.rotated", key["id"]),
        ("key.revoked", fresh["id"]),
        ("node_token.created", token["id"]),
        ("node_token.revoked", token["id"]),
        ("node.cordoned", node),
        ("node.uncordoned", node),
        ("node.drained", node),
        ("node.removed", node),
        ("announcement.published", said["id"]),
    ]
    assert {each["via"].split()[0] for each in found} == {"key"}
    secrets = (key["key"], fresh["key"], token["token"])
    everything = repr(await entries(grid))
    assert not any(secret in everything for secret in secrets)


async def test_the_log_in_pages_and_filtered(grid: RunningGateway) -> None:
    """Pages follow one another without gap; filters leave out the rest; what is no cursor is 400."""
    admin = await grid.account(Role.ADMIN)
    for number in range(5):
        assert (await admin.http.post("/v1/keys", json={"name": str(number)})).status_code == 201
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await admin.http.get("/v1/admin/audit", params=params)).json()
        seen += [each["seq"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert seen == list(range(seen[0], 0, -1))
    keys = (await admin.http.get("/v1/admin/audit", params={"action": "key.*", "actor": admin.id})).json()[
        "data"
    ]
    assert {each["action"] for each in keys} == {"key.created"}
    assert len(keys) == 5
    middle = keys[2]["at"]
    for name, count in (("since", 3), ("until", 2)):
        some = await admin.http.get("/v1/admin/audit", params={"actor": admin.id, name: middle})
        assert len(some.json()["data"]) == count
    for bad in ("x", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
        assert (await admin.http.get("/v1/admin/audit", params={"cursor": bad})).status_code == 400
    for wrong in ({"since": "yesterday"}, {"actor": "\x00"}, {"limit": "0"}):
        assert (await admin.http.get("/v1/admin/audit", params=wrong)).status_code == 422
