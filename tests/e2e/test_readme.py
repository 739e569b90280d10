"""The examples of README.md do what it says, copied as they stand there; only port and data are others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import Grid, GridProcess

README = (Path(__file__).parents[2] / "README.md").read_text()
PATIENCE = 240.0
BETWEEN = "--- next block ---"
USAGE = re.compile(
    r"\d+ prompt \+ \d+ completion tokens · [\d.]+ tokens/s · [\d.]+ s · smollm2-135m on embedded"
)

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


def blocks(section: str, language: str) -> list[str]:
    """Return the fenced blocks of a section, without the fences."""
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {section!r}"
    return re.findall(rf"^```{language}\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """Somebody who copies from README.md into a terminal beside a running ``neurogrid up``."""

    directory: Path
    address: str
    environment: dict[str, str]

    def shell(self, *scripts: str) -> tuple[list[str], str]:
        """Run blocks in one shell; return what each printed on stdout, and stderr."""
        script = f"\necho; echo '{BETWEEN}'\n".join(scripts)
        done = self._run(["bash", "-euo", "pipefail", "-c", script.replace("127.0.0.1:8000", self.address)])
        return done.stdout.split(f"{BETWEEN}\n"), done.stderr

    def python(self, script: str) -> str:
        """Run a program; return what it printed."""
        return self._run([sys.executable, "-c", script.replace("127.0.0.1:8000", self.address)]).stdout

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done


def reader_beside(gateway: GridProcess, directory: Path, environment: dict[str, str]) -> Reader:
    """Return a reader whose shell is that of a checkout with its ``.venv``."""
    (directory / ".venv").symlink_to(sys.prefix)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NEUROGRID_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Reader(directory, gateway.url.removeprefix("http://"), {**inherited, **environment, "PATH": path})


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader on one machine."""
    directory = tmp_path_factory.mktemp("readme")
    environment = {"NEUROGRID_DATA_DIR": str(directory / "data")}
    with Grid(directory, environment) as grid:
        gateway = grid.gateway(command="up")
        yield reader_beside(gateway, directory, environment)


@pytest.fixture
def key(reader: Reader) -> str:
    """A key in the environment, where the section on curl has put it."""
    key: str = json.loads((reader.directory / "data" / "credentials.json").read_text())["api_key"]
    reader.environment["NEUROGRID_API_KEY"] = key
    return key


@pytest.mark.xdist_group("readme")
def test_first_task(reader: Reader) -> None:
    """The first task prints its text, and in the end the usage line that README.md shows."""
    (command,) = blocks("First task", "sh")
    (shown,) = blocks("First task", "text")
    (text,), usage = reader.shell(command)
    assert text.strip()
    assert USAGE.search(usage)
    assert USAGE.search(shown)


@pytest.mark.xdist_group("readme")
def test_curl(reader: Reader) -> None:
    """With curl one submits, follows a task to its end by server-sent events, and waits for a result."""
    (_, events, waited), _ = reader.shell(*blocks("curl", "sh"))
    assert "event: task.chunk\n" in events
    assert "event: task.completed\n" in events
    assert json.loads(waited)["output"]["language"] == "de"


@pytest.mark.usefixtures("key")
@pytest.mark.xdist_group("readme")
def test_python(reader: Reader) -> None:
    """Both Python clients bring what their examples promise."""
    one_by_one, at_once = blocks("Python", "python")
    assert "completion_tokens=" in reader.python(one_by_one)
    assert [line.split()[0] for line in reader.python(at_once).splitlines()] == ["de", "fr", "en"]


@pytest.mark.usefixtures("key")
@pytest.mark.xdist_group("readme")
def test_websocket(reader: Reader) -> None:
    """A WebSocket that breaks is resumed, and the joined text is the task's output (the example asserts it)."""
    (example,) = blocks("WebSocket", "python")
    first, last = reader.python(example).splitlines()
    assert first.endswith("the last event is 1-19")
    assert int(last.split()[0]) > int(first.split()[0])


def test_on_servers(tmp_path: Path, postgres_url: str) -> None:
    """The commands that prepare a database for production bring an account, a key and a node's token."""
    prepare = re.sub(r"DATABASE_URL=\S+", f"DATABASE_URL={postgres_url!r}", blocks("On servers", "sh")[0])
    environment = {**os.environ, "PASSWORD": "correct horse battery", "NEUROGRID_DATA_DIR": str(tmp_path)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(tmp_path, "127.0.0.1:8000", {**environment, "PATH": path})
    (printed,), _ = reader.shell(prepare)
    _account, key, token = printed.split()
    assert key.startswith("ng_")
    assert token.startswith("ngn_")
