"""What the command line says by itself is right where it is read."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neurogrid import __version__
from neurogrid.cli.main import app
from neurogrid.cli.node import slots_of
from neurogrid.cli.up import _first_task
from neurogrid.runners.debug import DebugEcho, DebugSleep


def test_the_first_task_finds_its_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that `neurogrid up` shows names the data directory when no other command would look there."""
    monkeypatch.setenv("NEUROGRID_DATA_DIR", str(tmp_path / "usual"))
    assert "NEUROGRID_DATA_DIR" not in _first_task(tmp_path / "usual")
    assert shlex.split(_first_task(tmp_path / "an other"))[0] == f"NEUROGRID_DATA_DIR={tmp_path / 'an other'}"


def test_the_first_task_is_found_by_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an activated environment, the command that `neurogrid up` shows names its path."""
    monkeypatch.setenv("NEUROGRID_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(Path(sys.executable).parents[1])
    assert _first_task(tmp_path).startswith(f"{Path(sys.executable).parent.name}/neurogrid task submit")


def test_the_first_task_is_for_a_model_that_is_served(tmp_path: Path) -> None:
    """`neurogrid up --models` without the usual model shows a task that can run."""
    assert "submit smollm2-135m --input" in _first_task(tmp_path)
    command = shlex.split(_first_task(tmp_path, [DebugEcho.spec]))
    assert command[-4:-1] == ["debug.echo", "--input-json", '{"hello": "world"}']


def test_slots_are_those_of_the_models() -> None:
    """A node that is not told otherwise runs as many tasks as its models can together."""
    assert slots_of([DebugEcho(), DebugSleep()]) == DebugEcho.spec.slots + DebugSleep.spec.slots


def test_version() -> None:
    """`--version` prints the version alone."""
    assert CliRunner().invoke(app, ["--version"]).stdout == f"{__version__}\n"
