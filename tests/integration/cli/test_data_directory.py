"""What commands on one data directory, or one database, know of each other."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from neurogrid.auth import tokens
from neurogrid.cli import own_servers
from neurogrid.cli.holding import only_gateway
from neurogrid.cli.main import app
from neurogrid.cli.service import given_settings, load_settings
from neurogrid.core.ids import new_id
from neurogrid.queue.usage import NO_KEY


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory, and no address in the environment."""
    for name in ("NEUROGRID_DATABASE_URL", "DATABASE_URL", "NEUROGRID_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROGRID_DATA_DIR", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def held(sqlite_url: str) -> Iterator[str]:
    """A SQLite file on which a gateway serves."""
    with only_gateway(given_settings(database_url=SecretStr(sqlite_url))):
        yield sqlite_url


def test_one_gateway_serves_on_a_file(held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R29: a second `serve` or `up` on a SQLite file is refused, and told what to do."""
    monkeypatch.setenv("NEUROGRID_DATABASE_URL", held)
    for command in ("serve", "up"):
        refused = run(command, "--port", "0")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "another gateway serves on" in refused.stderr
        assert "NEUROGRID_DATABASE_URL" in refused.stderr


def test_a_file_is_free_when_its_gateway_has_ended(held: str, postgres_url: str) -> None:
    """The lock ends with who holds it; other files are other locks, and PostgreSQL takes any number."""
    settings = given_settings(database_url=SecretStr(held + ".other"))
    for _ in range(2):
        with only_gateway(settings):
            pass
    settings = given_settings(database_url=SecretStr(postgres_url))
    with only_gateway(settings), only_gateway(settings):
        pass


def test_commands_find_the_servers_of_a_data_directory(alone: Path, postgres_url: str) -> None:
    """After `up --servers` the commands on its data directory need no address, and make keys in its database."""
    own_servers.note(alone, database_url=postgres_url, redis_url="redis://nowhere")
    assert stat.S_IMODE((alone / own_servers.NOTE).stat().st_mode) == 0o600
    assert run("user", "create", "ada@example.org").exit_code == 0
    made = run("key", "create", "--user", "ada@example.org", "--name", "first")
    assert tokens.well_formed(made.stdout.strip(), tokens.API_KEY), made.stderr
    assert run("nodes", "token").exit_code == 0
    assert "up to date" in run("db", "status").stdout
    settings = load_settings()
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://nowhere"


def test_an_address_given_counts_more(alone: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a database gets that one, with nothing of the servers noted."""
    own_servers.note(alone, database_url="postgresql+asyncpg://nowhere/x", redis_url="redis://nowhere")
    monkeypatch.setenv("NEUROGRID_DATABASE_URL", sqlite_url)
    settings = load_settings()
    assert settings.effective_database_url == sqlite_url
    assert settings.redis_url is None


def test_servers_that_do_not_run_are_said_to_stand_still(alone: Path) -> None:
    """While they are stopped a command says so, and by what they are started."""
    own_servers.note(
        alone,
        database_url=f"postgresql+asyncpg://neurogrid@/postgres?host={alone}",
        redis_url="redis://nowhere",
    )
    for command in (["key", "create", "--user", "a", "--name", "b"], ["db", "status"], ["serve"]):
        refused = run(*command)
        assert refused.exit_code == 3
        assert "neurogrid up --servers" in refused.stderr


def test_a_data_directory_goes_back_to_sqlite(alone: Path) -> None:
    """`up` without `--servers` takes the note away: the truth is the file again."""
    own_servers.note(alone, database_url="postgresql+asyncpg://nowhere/x", redis_url="redis://nowhere")
    own_servers.forget(alone)
    own_servers.forget(alone)
    assert load_settings().on_sqlite


def test_a_database_is_made_in_a_directory_that_is_not_there_yet(alone: Path) -> None:
    """`db upgrade` with a fresh data directory makes it, for its owner only; asking for the status does not."""
    fresh = alone / "grids" / "first"
    assert "empty" in run("db", "status", "--data-dir", str(fresh)).stdout
    assert not fresh.exists()
    assert run("db", "upgrade", "--data-dir", str(fresh)).exit_code == 0
    assert "up to date" in run("db", "status", "--data-dir", str(fresh)).stdout
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    assert stat.S_IMODE((fresh / "neurogrid.db").stat().st_mode) == 0o600


def test_usage_of_sessions_has_no_key(alone: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used without a key is `-` by key, and no id that looks like one."""
    monkeypatch.setenv("NEUROGRID_DATABASE_URL", sqlite_url)
    with sqlite3.connect(sqlite_url.partition("///")[2]) as database:
        database.execute(
            "INSERT INTO usage_days VALUES (?, ?, 'language', date(), 1, 2, 3, 4)", (new_id(), NO_KEY)
        )
    shown = run("usage", "show", "--by", "key")
    assert (shown.exit_code, NO_KEY in shown.stdout) == (0, False), shown.output
    assert shown.stdout.splitlines()[-1].split()[:2] == ["-", "1"]
