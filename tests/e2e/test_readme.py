"""The examples of README.md, as a newcomer would type them.

Run are all blocks marked ``sh``, ``bash`` or ``python`` below the headings named in ``SECTIONS``, in order, in one
shell: what one block exports the next one has. Blocks of any other language are output to look at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import Grid, free_port

README = Path(__file__).resolve().parents[2] / "README.md"
SECTIONS = ("First task", "curl", "Accounts", "Python", "WebSocket")
URL = "127.0.0.1:8000"
SHELL = {"sh", "bash", "shell"}

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    section: str
    language: str
    text: str

    def script(self, number: int) -> str:
        """Return the shell code that runs it."""
        code = self.text if self.language in SHELL else f"python <<'END_OF_BLOCK'\n{self.text}\nEND_OF_BLOCK"
        return f"printf '\\n=== {number}\\n'\n{code}\n"


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the blocks of the sections to run."""
    section, language, lines = "", None, list[str]()
    for line in markdown.splitlines():
        fence = re.match(r"```(\w*)", line)
        if language is None and fence:
            language, lines = fence[1], []
        elif language is not None and line.startswith("```"):
            if section in SECTIONS and language in {*SHELL, "python"}:
                yield Block(section, language, "\n".join(lines))
            language = None
        elif language is not None:
            lines.append(line)
        elif heading := re.match(r"#+\s+(.*)", line):
            section = heading[1].strip()


def test_examples_work(tmp_path: Path) -> None:
    """Each example of the README runs to its end against a fresh `neurogrid up`; each section shows something."""
    found = list(blocks(README.read_text()))
    assert {block.section for block in found} == set(SECTIONS)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".venv").symlink_to(sys.prefix)  # the examples begin where `make` has built it
    port = free_port()
    environment = {"HOME": str(home), "XDG_DATA_HOME": str(home / ".local/share")}
    script = "set -euo pipefail\n" + "".join(block.script(number) for number, block in enumerate(found))
    with Grid(tmp_path, environment) as grid:
        gateway = grid.start("up", "--port", str(port))
        gateway.url = f"http://127.0.0.1:{port}"
        gateway.wait_until_ready(120)
        done = subprocess.run(
            ["bash", "-c", script.replace(URL, f"127.0.0.1:{port}")],
            cwd=home,
            env={**os.environ, **environment, "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    printed = re.split(r"\n=== \d+\n", done.stdout)[1:]
    for section in SECTIONS:
        heard = [output for block, output in zip(found, printed, strict=True) if block.section == section]
        assert any(output.strip() for output in heard), f"the examples of {section} print nothing"
