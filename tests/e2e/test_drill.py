"""``neurogrid drill``: the grid is broken in every way and loses nothing, and a weakened grid is found out."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from neurogrid.core.sabotage import Protection
from tests.support.processes import Grid
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(900)
DRILL = "drill --json --seed"
MISFORTUNE = re.compile(r" +\d+\.\d s  ")


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Three quarters of a minute of kills, pauses and cuts under load: nothing lost, doubled, missing or stuck."""
    with Grid(tmp_path) as grid:
        report = json.loads(grid.run(*DRILL.split(), "42", "--minutes", "0.75", timeout=600))
    assert report["findings"] == []
    assert {report[name] for name in ("lost", "finished_twice", "stream_gaps", "stuck", "mischarged")} == {0}
    assert report["finished"] == report["accepted"] > 300
    assert report["kills"] + report["pauses"] >= 8
    assert report["misfortunes"].get("drain_node") == report["orders"] == 1
    for part in ("bulk", "identical", "repeated", "replayed", "left", "deserted"):
        assert report[part] > 0, part
    assert report["complaints"] == []
    assert not Path(report["logs"]).exists()


@pytest.mark.parametrize("protection", list(Protection))
def test_every_protection_is_needed(tmp_path: Path, protection: Protection) -> None:
    """With fence, lease, commit before the answer, or resumption switched off, the drill reports the loss."""
    with Grid(tmp_path) as grid:
        report = json.loads(
            grid.run(*DRILL.split(), "1", "--self-test", "--without", protection, timeout=300)
        )
    assert report["blind"] == []
    assert [trial["protection"] for trial in report["trials"]] == [protection]


def test_a_drill_that_is_stopped_leaves_nothing_running(run_directory: Path) -> None:
    """SIGTERM in the middle of a drill ends everything it started."""
    directory = run_directory / "stopped-drill"  # one that PostgreSQL's user may pass
    directory.mkdir()
    command = [sys.executable, "-m", "neurogrid.cli.main", "drill", "--seed", "1"]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(directory), "HOME": str(directory)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as drill:
        assert drill.stderr is not None
        said = list(takewhile(lambda line: not MISFORTUNE.match(line), drill.stderr))
        assert running(directory), said
        drill.send_signal(signal.SIGTERM)
        drill.stderr.read()
        assert drill.wait(120) == 130
    until_blocking(lambda: not running(directory), what="nothing is left")
    assert not list(directory.glob("neurogrid-drill-*"))


def running(directory: Path) -> list[str]:
    return [
        process.info["name"]
        for process in psutil.process_iter(["name", "cwd"])
        if (process.info["cwd"] or "").startswith(str(directory))
    ]
