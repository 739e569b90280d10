"""Accounts on the server itself: invitations, and the key a gateway serves by."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select
from typer.testing import CliRunner

from neurogrid.auth import tokens
from neurogrid.auth.tables import AuditEntry, Invitation, User
from neurogrid.cli.main import app
from neurogrid.core.db import Database
from neurogrid.core.ids import now

KEY = "q8Zr1mVt0xYb7LsKd3NwPf6HgJc2Ua9e"


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), env=environment)
    return done.exit_code, done.output


def test_an_invitation_is_printed_alone_and_kept_as_its_hash(sqlite_url: str) -> None:
    """What is printed lets in one account of the role, tier and address that were asked for."""
    options = ("--role", "operator", "--tier", "pro", "--days", "2")
    code, printed = run("user", "invite", "Ada@Example.org", *options, NEUROGRID_DATABASE_URL=sqlite_url)
    assert code == 0
    assert tokens.well_formed(printed.strip(), tokens.INVITATION)

    async def read() -> object:
        database = Database(sqlite_url)
        row = await database.first(select(Invitation.__table__))
        await database.close()
        assert row is not None
        assert 47 <= (row["expires_at"] - now()).total_seconds() / 3600 <= 48
        return row["hash"], row["email"], row["role"], row["tier"]

    found = asyncio.run(read())
    assert found == (tokens.digest(printed.strip()), "ada@example.org", "operator", "pro")


def test_an_invitation_for_what_is_no_address(sqlite_url: str) -> None:
    """It says what is wrong, and makes nothing."""
    code, printed = run("user", "invite", "nobody", NEUROGRID_DATABASE_URL=sqlite_url)
    assert code != 0
    assert "no e-mail address" in printed


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "NEUROGRID_SECRET_KEY"),
        ({"NEUROGRID_SECRET_KEY": "short"}, "at least 32 bytes"),
        ({"NEUROGRID_SECRET_KEY": "a" * 40}, "can be guessed"),
        ({"NEUROGRID_SECRET_KEY": KEY, "NEUROGRID_REDIS_URL": "redis://127.0.0.1:1"}, "PostgreSQL"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["serve", "up"])
def test_production_does_not_start_unsafe(
    sqlite_url: str, tmp_path: Path, command: str, environment: dict[str, str], said: str
) -> None:
    """Neither command serves in production without a key of one's own, or with SQLite under several gateways."""
    data = tmp_path / "data"
    whole = {"NEUROGRID_ENV": "production", "NEUROGRID_DATABASE_URL": sqlite_url, **environment}
    code, printed = run(command, "--port", "0", "--data-dir", str(data), **whole)
    assert code not in {0, None}
    assert said in printed
    assert environment.get("NEUROGRID_SECRET_KEY", "?") not in printed
    assert not data.exists()


def test_several_workers_on_sqlite(sqlite_url: str) -> None:
    """Production refuses several gateways on one file, as development does."""
    assert make_url(sqlite_url).database
    environment = {"NEUROGRID_ENV": "production", "NEUROGRID_SECRET_KEY": KEY}
    code, printed = run("serve", "--workers", "2", NEUROGRID_DATABASE_URL=sqlite_url, **environment)
    assert code != 0
    assert "PostgreSQL" in printed


def test_accounts_are_looked_after_on_the_server(sqlite_url: str, tmp_path: Path) -> None:
    """What an operator does to an account without the API holds, shows in the answer, and is in the audit log."""
    environment = {"NEUROGRID_DATABASE_URL": sqlite_url, "NEUROGRID_DATA_DIR": str(tmp_path)}

    def user(*arguments: str, input: str = "") -> tuple[int, Any]:
        done = CliRunner().invoke(app, ["user", *arguments, "--json"], env=environment, input=input)
        return done.exit_code, json.loads(done.output) if done.exit_code == 0 else done.output

    for email in ("root@example.org", "ada@example.org"):
        assert run("user", "create", email, "--role", "admin", **environment)[0] == 0
    assert [each["email"] for each in user("list")[1]] == ["ada@example.org", "root@example.org"]
    assert user("list", "--tier", "pro")[1] == []
    assert user("role", "ada@example.org", "user")[1]["role"] == "user"
    assert user("tier", "Ada@Example.org", "pro")[1]["tier"] == "pro"
    assert user("disable", "ada@example.org")[1]["locked_at"] is not None
    assert user("enable", "ada@example.org")[1]["locked_at"] is None
    assert user("show", "ada@example.org")[1]["email_verified"]
    assert user("verify", "ada@example.org")[0] == 0, "once more changes nothing"
    assert user("password", "ada@example.org", "--password-stdin", input=f"{KEY}\n")[0] == 0
    for wrong, said in (
        (("disable", "root@example.org"), "last administrator"),
        (("role", "root@example.org", "user"), "last administrator"),
        (("show", "nobody@example.org"), "no account"),
        (("password", "ada@example.org"), "no terminal"),
        (("password", "ada@example.org", "--password-stdin"), "no password"),
    ):
        assert said in user(*wrong)[1], wrong

    async def read() -> tuple[list[str], Any]:
        database = Database(sqlite_url)
        noted = await database.all(select(AuditEntry.action, AuditEntry.via).order_by(AuditEntry.seq))
        row = await database.first(select(User.password_hash).where(User.email == "ada@example.org"))
        await database.close()
        assert {each["via"] for each in noted} == {"server"}
        return [each["action"] for each in noted], row

    actions, row = asyncio.run(read())
    assert actions[2:] == [
        "user.role_changed", "user.tier_changed", "user.locked", "user.unlocked", "password.set",
    ]  # fmt: skip
    assert row["password_hash"].startswith("$argon2")
