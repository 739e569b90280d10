"""Accounts on the server itself: invitations, and the key a gateway serves by."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import make_url, select
from typer.testing import CliRunner

from neurogrid.auth import tokens
from neurogrid.auth.tables import Invitation
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
