"""What people install is complete."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MIGRATE = """
import sys
from neurogrid.core import migrations
print(migrations.scripts_directory())
migrations.upgrade(sys.argv[1])
migrations.check(sys.argv[1])
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with the files of the wheel, as an installer would lay them out."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_the_wheel_brings_its_migrations(installed: Path, tmp_path: Path) -> None:
    """An installed package migrates a database without a checkout at hand."""
    done = subprocess.run(
        [sys.executable, "-c", MIGRATE, f"sqlite+aiosqlite:///{tmp_path / 'new.db'}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == installed / "neurogrid" / "_alembic"


def test_the_wheel_holds_what_is_not_python(installed: Path) -> None:
    """Type marker, template of migrations and entry point are in the wheel; compiled files are not."""
    assert (installed / "neurogrid" / "py.typed").is_file()
    assert (installed / "neurogrid" / "_alembic" / "script.py.mako").is_file()
    assert "neurogrid = neurogrid.cli.main:app" in next(installed.glob("*/entry_points.txt")).read_text()
    assert not list(installed.rglob("*.pyc"))
