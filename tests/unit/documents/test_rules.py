"""docs/correctness.md is the key to the rules that code and tests name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "correctness.md").read_text()
RULES = range(1, 31)
UNTESTED = {27, 29}
"""Not built yet."""


def rows() -> list[tuple[int, list[str]]]:
    """Return each row's rule and the tests that it names."""
    found = re.findall(r"^\| R(\d+) \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    return [(int(rule), re.findall(r"`([^`]+)`", tests)) for rule, tests in found]


@cache
def names_in(path: str) -> set[str]:
    """Return the names of the functions in a file below ``tests``."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_rule_has_a_row() -> None:
    """No rule is left out, and none is without tests but those that are known to be."""
    assert {rule for rule, _ in rows()} == set(RULES)
    assert {rule for rule, tests in rows() if not tests} <= UNTESTED


def test_every_test_named_exists() -> None:
    """A test that was renamed or removed is missed here."""
    for rule, tests in rows():
        for test in tests:
            path, _, name = test.partition("::")
            assert name.startswith("test_"), f"R{rule}: {test}"
            assert (ROOT / "tests" / path).is_file(), f"R{rule}: {test}"
            assert name in names_in(path), f"R{rule}: {test}"


def test_every_rule_named_in_code_has_its_row() -> None:
    """What a comment calls R7 can be looked up."""
    listed = {rule for rule, _ in rows()}
    for folder in ("src", "tests", "alembic"):
        for file in (ROOT / folder).rglob("*.py"):
            named = re.findall(r"\bR(\d{1,2})\b", file.read_text())
            assert {int(rule) for rule in named} <= listed, file
