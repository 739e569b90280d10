"""Addresses of databases and of Redis are refused where they are given, not where they are used."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from neurogrid.cli.main import app


@pytest.mark.parametrize("name", ["NEUROGRID_DATABASE_URL", "DATABASE_URL", "NEUROGRID_REDIS_URL"])
@pytest.mark.parametrize(
    "value", ["mysql://u:hunter2@db/grid", "postgresql+psycopg2://u:hunter2@db/grid", "hunter2"]
)
@pytest.mark.parametrize("command", [["serve"], ["db", "upgrade"], ["config", "show"]])
def test_an_address_nobody_speaks_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, command: list[str]
) -> None:
    """The variable is named and what it may be; its value, which may hold a password, is not repeated."""
    for each in ("NEUROGRID_DATABASE_URL", "DATABASE_URL", "NEUROGRID_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, value)
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"\n  {name}: begins with" in refused.stderr
    assert "hunter2" not in refused.stderr
