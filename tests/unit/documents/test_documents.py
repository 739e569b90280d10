"""What the documents say of the code is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values
from typer.testing import CliRunner

from neurogrid.cli.config import flatten
from neurogrid.cli.main import app
from neurogrid.core.errors import GridError
from neurogrid.core.settings import Settings

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLE = ROOT / ".env.example"
COMMENTED = re.compile(r"^# (NEUROGRID_\w+=\S+)$", re.MULTILINE)


def heading_anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within the repository leads to a file, and to a heading where it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in heading_anchors(linked), f"{page.name}: {target}"


def test_settings_are_described() -> None:
    """docs/operations.md has the table that `neurogrid config describe` prints."""
    page = (ROOT / "docs" / "operations.md").read_text()
    found = re.search(r"<!-- settings: .*? -->\n(.*)<!-- end of settings -->", page, re.DOTALL)
    assert found
    assert found[1].strip() == CliRunner().invoke(app, ["config", "describe"]).stdout.strip()


def test_every_setting_is_in_the_description() -> None:
    """No setting is left out of the description, however deep it lies."""
    described = CliRunner().invoke(app, ["config", "describe"]).stdout
    for name, _ in flatten(Settings.model_construct()):
        assert f"| `{name}`" in described


def test_env_example_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of .env.example, with those commented out, is a setting that exists with a value it takes."""
    monkeypatch.chdir(tmp_path)
    uncommented = COMMENTED.sub(r"\1", EXAMPLE.read_text())
    env = tmp_path / ".env"
    env.write_text(uncommented)
    given = dotenv_values(env)
    in_force = dict(flatten(Settings()))
    assert len(given) > 10
    assert given.keys() <= in_force.keys()
    changed = {name for name, value in flatten(Settings(_env_file=None)) if in_force[name] != value}
    assert changed <= set(re.findall(r"^# (NEUROGRID_\w+)=", EXAMPLE.read_text(), re.MULTILINE))


def test_env_example_shows_defaults() -> None:
    """What stands in .env.example without a comment sign is the default."""
    defaults = dict(flatten(Settings.model_construct()))
    for name, value in dotenv_values(EXAMPLE).items():
        assert str(defaults[name]).lower() in {str(value).lower(), f"{value}.0"}, name


def test_error_codes_are_listed() -> None:
    """docs/api.md has every error code that the gateway can answer with."""
    page = (ROOT / "docs" / "api.md").read_text()
    codes = {kind.code for kind in subclasses(GridError)}
    listed = set(re.findall(r"^\| \d{3} \| `(\w+)` \|", page, re.MULTILINE))
    assert codes <= listed | {GridError.code}


def subclasses(kind: type[GridError]) -> set[type[GridError]]:
    """Return all errors of the code as it is imported by the application."""
    import neurogrid.app  # noqa: F401  so that all of them are known

    direct = set(kind.__subclasses__())
    return {kind, *direct, *(deeper for each in direct for deeper in subclasses(each))}
