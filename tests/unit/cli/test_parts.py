"""The command line's parts that need no gateway."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from neurogrid.cli import connection, screen
from neurogrid.cli.config import flatten
from neurogrid.cli.failures import Failure
from neurogrid.cli.first_admin import _write
from neurogrid.cli.main import app
from neurogrid.cli.node import DEFAULT_URL, read_labels, read_urls
from neurogrid.cli.options import read_duration
from neurogrid.cli.task_options import pairs, read_input
from neurogrid.cli.watching import TextWriter
from neurogrid.client.types import TaskEvent
from neurogrid.core.settings import Settings

OWN = {"url": "http://127.0.0.1:9000", "api_key": "ng_own"}


@pytest.mark.parametrize(
    ("url", "key", "credentials", "expected"),
    [
        (None, None, OWN, ("http://127.0.0.1:9000", "ng_own")),
        (None, "ng_given", OWN, ("http://127.0.0.1:9000", "ng_given")),
        ("http://127.0.0.1:9000/", None, OWN, ("http://127.0.0.1:9000/", "ng_own")),
        ("https://elsewhere", "ng_given", {}, ("https://elsewhere", "ng_given")),
        (None, None, {"api_key": "k"}, (connection.DEFAULT_URL, "k")),
    ],
)
def test_url_and_key_are_found(
    url: Any, key: Any, credentials: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Options count before the credentials of this machine's own gateway."""
    assert connection.resolve(url, key, credentials) == expected


@pytest.mark.parametrize(
    "url", ["https://elsewhere", "http://127.0.0.1:9001", "http://127.0.0.1:9000.evil.example"]
)
def test_own_key_goes_nowhere_else(url: str) -> None:
    """The key of the gateway on this machine is not sent to any other URL."""
    with pytest.raises(Failure, match="no API key"):
        connection.resolve(url, None, OWN)


def test_credentials_are_for_their_owner_only(tmp_path: Path) -> None:
    """The credentials file is readable by nobody else, also when it replaces one that was."""
    path = tmp_path / connection.CREDENTIALS
    path.write_text("{}")
    path.chmod(0o644)
    _write(path, OWN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert connection.read_credentials(tmp_path) == OWN
    assert connection.read_credentials(tmp_path / "nowhere") == {}
    path.write_text("{")
    with pytest.raises(Failure, match="damaged"):
        connection.read_credentials(tmp_path)


def test_options_of_pairs() -> None:
    """Values are JSON where they can be, text otherwise; an equals sign may be in the value."""
    given = ["temperature=0", 'stop=["a"]', "name=x=y", "flag=true", "empty="]
    assert pairs("--param", given) == {
        "temperature": 0,
        "stop": ["a"],
        "name": "x=y",
        "flag": True,
        "empty": "",
    }
    assert pairs("--param", None) is None
    assert read_labels(["zone=a", "n=1"]) == {"zone": "a", "n": "1"}
    for wrong in ("temperature", "=1"):
        with pytest.raises(Failure, match="name=value"):
            pairs("--param", [wrong])


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        (None, [DEFAULT_URL]),
        ([""], [DEFAULT_URL]),
        (["ws://a"], ["ws://a"]),
        (["ws://a", "wss://b"], ["ws://a", "wss://b"]),
        (["ws://a, wss://b,", "c"], ["ws://a", "wss://b", "c"]),
    ],
)
def test_a_node_may_know_several_gateways(given: list[str] | None, urls: list[str]) -> None:
    """`--url` is repeated, or names several with commas between."""
    assert read_urls(given) == urls


def test_input_comes_from_text_file_or_json(tmp_path: Path) -> None:
    """Exactly one of the two options gives the input; files are read; what is wrong is said."""
    file = tmp_path / "notes.txt"
    file.write_text("läuft")
    assert read_input("hi", None) == "hi"
    assert read_input("", None) == ""
    assert read_input(f"@{file}", None) == "läuft"
    assert read_input(None, '{"a": [1]}') == {"a": [1]}
    file.write_bytes(b"\xff")
    for text, json, message in (
        (None, None, "give the input"),
        ("a", "1", "give the input"),
        (None, "{", "not valid JSON"),
        (f"@{tmp_path}/none", None, "No such file"),
        (f"@{file}", None, "UTF-8"),
    ):
        with pytest.raises(Failure, match=message):
            read_input(text, json)


def event(id: str, type: str, text: str = "") -> TaskEvent:
    return TaskEvent.parse(
        {"id": id, "type": type, "task_id": "t", "at": "2026-11-22T10:00:00Z", "data": {"text": text}}
    )


def write(*events: TaskEvent) -> str:
    out = io.StringIO()
    writer = TextWriter(out)
    for each in events:
        writer.add(each)
    return out.getvalue()


def test_text_is_written_as_it_comes() -> None:
    """Pieces are written as they come, and nothing else."""
    assert (
        write(event("1-1", "task.running"), event("1-2", "task.chunk", "a"), event("1-3", "task.chunk", "b"))
        == "ab"
    )


def test_repeated_text_is_written_once() -> None:
    """A retry or snapshot that says the same again only adds what is new."""
    first = [event("1-2", "task.chunk", "one "), event("1-3", "task.chunk", "two")]
    retry = [
        event("2-0", "task.retrying"),
        event("2-2", "task.chunk", "one "),
        event("2-3", "task.chunk", "two three"),
    ]
    assert write(*first, *retry) == "one two three"
    assert write(*first, event("1-9", "task.snapshot", "one two three")) == "one two three"


def test_different_text_is_written_anew() -> None:
    """A retry that says something else begins on a line of its own."""
    assert (
        write(
            event("1-2", "task.chunk", "one"),
            event("2-0", "task.retrying"),
            event("2-2", "task.chunk", "two"),
        )
        == "one\ntwo"
    )


def test_text_cannot_steer_the_terminal() -> None:
    """A model's text reaches the terminal without control characters, line ends and tabs aside."""
    assert screen.safe("a\x1b[31m\x07\x9b1mb\tc\nd") == "a\ufffd[31m\ufffd\ufffd1mb\tc\nd"


def test_secrets_of_settings_are_masked() -> None:
    """Passwords in URLs are not shown."""
    settings = Settings(NEUROGRID_DATABASE_URL="postgresql://grid:hush@db/grid")  # type: ignore[call-arg, unused-ignore]
    shown = dict(flatten(settings))
    assert shown["NEUROGRID_DATABASE_URL"] == "postgresql://grid:***@db/grid"
    assert shown["NEUROGRID_GRID__LEASE"] == 10.0
    orjson.dumps(shown)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["serve"],
        ["node"],
        ["task", "submit"],
        ["task", "get"],
        ["task", "list"],
        ["task", "watch"],
        ["task", "cancel"],
        ["models", "list"],
        ["models", "pull"],
        ["nodes", "list"],
        ["nodes", "token"],
        ["user", "create"],
        ["key", "create"],
        ["db", "upgrade"],
        ["db", "downgrade"],
        ["db", "status"],
        ["config", "show"],
        ["openapi"],
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(command: list[str]) -> None:
    """``--help`` everywhere has an example."""
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0
    assert f"neurogrid {' '.join(command)}".rstrip() in shown.output.replace("Usage: neurogrid", "")


def test_help_comes_at_once() -> None:
    """What is heavy is imported by the commands that need it, not by every call of the program."""
    heavy = {"fastapi", "sqlalchemy", "httpx", "pydantic", "redis", "uvicorn", "alembic", "asyncpg", "numpy"}
    code = f"import sys, neurogrid.cli.main; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("90", 90), ("90s", 90), ("1.5m", 90), ("12h", 43_200), (" 30d ", 2_592_000)],
)
def test_times_have_units(text: str | None, seconds: float | None) -> None:
    """A time is a number with a unit, seconds by default."""
    assert read_duration("--in", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5w", "1h30m", "1e3", "inf"])
def test_what_is_no_time(text: str) -> None:
    """Anything else is refused by the name of the option."""
    with pytest.raises(Failure, match="--in takes a time"):
        read_duration("--in", text)
