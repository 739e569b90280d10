"""Keys and the audit log on the server itself."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from neurogrid.auth.policy import Permission, Role, Tier
from neurogrid.auth.service import AuthService
from neurogrid.auth.tables import AuditEntry
from neurogrid.cli.main import app
from neurogrid.core.db import Database
from neurogrid.core.errors import Unauthenticated

EMAIL = "ada@example.org"


@pytest.fixture
def run(database_url: str) -> Any:
    """Runs a command on a database with one account."""

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(arguments), env={"NEUROGRID_DATABASE_URL": database_url})
        return done.exit_code, done.output

    code, _ = run("user", "create", EMAIL)
    assert code == 0
    return run


def with_auth(url: str, work: Any) -> Any:
    async def go() -> Any:
        database = Database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(go())


def test_a_key_as_it_was_asked_for(run: Any, database_url: str) -> None:
    """It is printed alone, holds for what was named and no longer than that, is listed, and ends when revoked."""
    options = ("--scopes", "tasks:read, models:read", "--expires", "1h", "--networks", "10.0.0.0/8,192.0.2.7")
    code, printed = run("key", "create", "--user", "ADA@example.org", "--name", "reports", *options)
    assert code == 0
    key = printed.strip()
    identity = with_auth(database_url, lambda database: AuthService(database).identify(key))
    assert identity.scopes == {Permission.TASKS_READ, Permission.MODELS_READ}
    assert str(identity.networks) == "10.0.0.0/8 192.0.2.7/32"
    assert (identity.role, identity.tier) == (Role.USER, Tier.FREE)
    code, listed = run("key", "list", "--user", EMAIL, "--json")
    (shown,) = orjson.loads(listed)
    assert (code, shown["name"], key in listed) == (0, "reports", False)
    assert run("key", "revoke", shown["id"], "--user", EMAIL)[0] == 0
    with pytest.raises(Unauthenticated):
        with_auth(database_url, lambda database: AuthService(database).identify(key))
    assert "revoked" in run("key", "list", "--user", EMAIL)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--user", EMAIL, "--name", "k", "--scopes", "all"), "There are"),
        (("create", "--user", EMAIL, "--name", "k", "--scopes", ","), "no permission"),
        (("create", "--user", EMAIL, "--name", "k", "--networks", "10.0.0.1/8"), "host bits"),
        (("create", "--user", EMAIL, "--name", "k", "--expires", "soon"), "takes a time"),
        (("create", "--user", "bob@example.org", "--name", "k"), "no account"),
        (("list", "--user", "bob@example.org"), "no account"),
        (("revoke", "0190b0f0-0000-7000-8000-000000000000", "--user", EMAIL), "no key"),
    ],
    ids=str,
)
def test_what_cannot_be(run: Any, arguments: tuple[str, ...], said: str) -> None:
    """It says what is wrong, and makes nothing."""
    code, printed = run("key", *arguments)
    assert (code != 0, said in printed) == (True, True), printed
    assert orjson.loads(run("key", "list", "--user", EMAIL, "--json")[1]) == []


def test_the_log_is_checked(run: Any, database_url: str) -> None:
    """Sound, it prints what to keep; changed, it names the entry and exits with 1; what was kept finds a new chain."""
    run("key", "create", "--user", EMAIL, "--name", "k")
    code, kept = run("audit", "verify")
    assert (code, kept.split(":")[0]) == (0, "2")
    assert run("audit", "verify", "--known", kept.strip())[0] == 0
    assert run("audit", "verify", "--known", f"2:{'0' * 64}")[0] == 1
    assert run("audit", "verify", "--known", f"9:{'0' * 64}")[0] == 1
    assert run("audit", "verify", "--known", "x")[0] == 2
    code, listed = run("audit", "list", "--json")
    assert [(each["action"], each["via"]) for each in orjson.loads(listed)] == [
        ("key.created", "server"),
        ("user.created", "server"),
    ]
    assert "key.created" in run("audit", "list", "--action", "key.*")[1]

    async def forge(database: Database) -> None:
        async with database.transaction() as transaction:
            await transaction.execute(update(AuditEntry).where(AuditEntry.seq == 1).values(actor="eve"))

    with_auth(database_url, forge)
    code, said = run("audit", "verify")
    assert code == 1
    assert "entry 1 was changed" in said
