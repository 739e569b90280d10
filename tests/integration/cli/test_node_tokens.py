"""``neurogrid nodes token``: a token made on the server itself, without a gateway."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from neurogrid.auth import tokens
from neurogrid.cli.main import app
from neurogrid.core.db import Database
from neurogrid.nodes.joining import JoinTokens
from neurogrid.nodes.schemas import TokenView
from neurogrid.nodes.store import NodeStore


def kept(url: str) -> TokenView:
    """Return the one token there is."""

    async def read() -> list[TokenView]:
        database = Database(url)
        try:
            return await JoinTokens(NodeStore(database)).overview()
        finally:
            await database.close()

    (token,) = asyncio.run(read())
    return token


def test_a_token_is_printed_alone(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdout is the token and nothing else; the database knows what it is for and when it ends."""
    monkeypatch.setenv("NEUROGRID_DATABASE_URL", sqlite_url)
    options = ("--name", "lab", "--node", "lab-1", "--models", "b, a", "--expires-in", "30d")
    made = CliRunner().invoke(app, ["nodes", "token", *options])
    assert made.exit_code == 0, made.stderr
    secret = made.stdout.removesuffix("\n")
    assert tokens.well_formed(secret, tokens.NODE_TOKEN)
    token = kept(sqlite_url)
    assert secret.startswith(token.prefix)
    assert (token.name, token.node, token.models) == ("lab", "lab-1", ["a", "b"])
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - datetime.now(UTC) <= timedelta(days=30)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--expires-in", "soon"), "--expires-in takes a time"),
        (("--expires-in", "0s"), "expires_in_s"),
        (("--models", " , "), "models"),
        (("--node", ""), "node"),
    ],
)
def test_a_token_that_cannot_be(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], reason: str
) -> None:
    """What makes no sense is one red line, and no token."""
    monkeypatch.setenv("NEUROGRID_DATABASE_URL", sqlite_url)
    refused = CliRunner().invoke(app, ["nodes", "token", *options])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert reason in refused.stderr
