"""The examples of docs/ do what they say, copied as they stand; only port and data are others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from neurogrid.client import Client
from tests.support.processes import Grid
from tests.support.until import until_blocking

ROOT = Path(__file__).parents[2]
URL = "127.0.0.1:8000"
PATIENCE = 240.0
BETWEEN = "--- next block ---"

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


def blocks(page: str, section: str, language: str) -> list[str]:
    """Return the fenced blocks of a section, without the fences."""
    text = (ROOT / page).read_text()
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {section!r}"
    return re.findall(rf"^```{language}\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """Somebody who copies examples into a terminal whose environment is that of a checkout's ``.venv``."""

    directory: Path
    variables: dict[str, str]
    address: str = URL
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        (self.directory / ".venv").symlink_to(sys.prefix)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NEUROGRID_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**inherited, **self.variables, "PATH": path, "no_proxy": "127.0.0.1"}

    def shell(self, *scripts: str) -> list[str]:
        """Run blocks in one shell; return what each printed."""
        script = f"\necho; echo '{BETWEEN}'\n".join(scripts)
        return self._run("bash", "-euo", "pipefail", "-c", script).split(f"{BETWEEN}\n")

    def python(self, script: str) -> str:
        """Run a program; return what it printed."""
        return self._run(sys.executable, "-c", script)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [part.replace(URL, self.address) for part in command],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader beside a running ``neurogrid up``, with its key in the environment."""
    directory = tmp_path_factory.mktemp("documents")
    variables = {"NEUROGRID_DATA_DIR": str(directory / "data")}
    with Grid(directory, variables) as grid:
        gateway = grid.gateway(command="up")
        credentials = json.loads((directory / "data" / "credentials.json").read_text())
        variables["NEUROGRID_API_KEY"] = credentials["api_key"]
        yield Reader(directory, variables, gateway.url.removeprefix("http://"))


def test_quickstart(reader: Reader) -> None:
    """The commands of the quickstart work in the order in which they stand."""
    submitted, looked_up = reader.shell(*blocks("docs/quickstart.md", "2. Submit tasks", "sh"))
    assert '"language": "de"' in submitted
    assert '"dimensions": 384' in submitted
    assert '"finish_reason"' in looked_up


def test_text_fold(reader: Reader) -> None:
    """The example of the API page prints the text of its task."""
    (example,) = blocks("docs/api.md", "Clients", "python")
    assert reader.python(example).strip()


def test_a_node_by_hand(reader: Reader) -> None:
    """The node of docs/nodes.md, which uses nothing of NeuroGrid, is given a task and finishes it."""
    (example,) = blocks("docs/nodes.md", "The protocol", "python")
    (token,) = reader.shell("neurogrid nodes token")
    variables = {"GATEWAY": f"ws://{reader.address}", "NEUROGRID_NODE_TOKEN": token.strip()}
    node = subprocess.Popen([sys.executable, "-c", example], env={**reader.environment, **variables})
    try:
        with Client(f"http://{reader.address}", reader.environment["NEUROGRID_API_KEY"]) as client:
            until_blocking(
                lambda: any(model.name == "upper" for model in client.models()),
                PATIENCE,
                what="the node has joined",
            )
            task = client.submit("some words", "upper", wait=60)
        assert task.output == {"text": "SOME WORDS "}
        assert task.node == "by-hand"
    finally:
        node.kill()
        node.wait()


def test_on_servers(tmp_path: Path, postgres_url: str) -> None:
    """The README's commands for a server bring an account, a key and a node's token in a new database."""
    prepare = re.sub(
        r"DATABASE_URL=\S+", f"DATABASE_URL={postgres_url!r}", blocks("README.md", "On servers", "sh")[0]
    )
    variables = {"PASSWORD": "correct horse battery", "NEUROGRID_DATA_DIR": str(tmp_path)}
    (printed,) = Reader(tmp_path, variables).shell(prepare)
    _account, key, token = printed.split()
    assert key.startswith("ng_")
    assert token.startswith("ngn_")
