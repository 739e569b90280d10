"""What goes to the terminal: data on stdout, everything else on stderr, nothing that steers the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import typer

_CONTROL = dict.fromkeys([*range(32), 127, *range(128, 160)], "\N{REPLACEMENT CHARACTER}")
_STEERING = {code: shown for code, shown in _CONTROL.items() if chr(code) not in "\n\t"}


def print_json(value: Any, *, indent: bool = True) -> None:
    """Write JSON to stdout."""
    option = orjson.OPT_INDENT_2 if indent else 0
    typer.echo(orjson.dumps(value, option=option | orjson.OPT_APPEND_NEWLINE), nl=False)
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout, in full width when nobody looks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(safe(str(cell))) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 400)
    console.print(table)


def safe(text: str) -> str:
    """Return ``text`` without the characters by which a stranger's text could steer the terminal."""
    return text.translate(_STEERING)


def note(text: str) -> None:
    """Write a remark to stderr."""
    typer.secho(text, dim=True, err=True)


@contextmanager
def status(text: str) -> Iterator[None]:
    """Show that something goes on, when somebody looks."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
