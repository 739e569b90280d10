"""What the figures look like to people and to programs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.options import Options
from neurogrid import __version__

WIDTH = 180
"""Columns that the tables take where no terminal says how many there are."""
TIE = 0.3
"""Differences of less than this share between runs on a machine with other work are ties."""
_PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "pydantic", "asyncpg", "sqlalchemy", "redis")
_SPREAD = ("mean", "median", "min", "max", "stdev", "p50", "p95", "p99")

Earlier = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""Figures of another run, as its JSON has them, by key."""


def show(console: Console, group: str, figures: Sequence[Figure], earlier: Earlier) -> None:
    """Print a group: the figures, then how they spread."""
    console.print(_figures(group, figures, earlier))
    spreads = [figure for figure in figures if figure.spread is not None and figure.spread.samples > 1]
    if spreads:
        console.print(_spreads(group, spreads))


def _figures(group: str, figures: Sequence[Figure], earlier: Earlier) -> Table:
    table = Table(title=group, title_justify="left", title_style="bold")
    table.add_column("figure", min_width=30)
    table.add_column("on")
    for name in ("median", "best", "CPU µs", "best CPU", "rate to ref.", "CPU to ref.", "errors"):
        table.add_column(name, justify="right")
    table.add_column("goals")
    if earlier:
        table.add_column("earlier", justify="right")
    for figure in figures:
        row = [
            figure.name,
            figure.grid,
            f"{_number(figure.value)} {figure.unit}",
            _number(figure.best),
            _number(figure.cpu_us),
            _number(figure.best_cpu_us),
            _number(figure.ratio),
            _number(figure.cpu_ratio),
            str(figure.errors or ""),
            _goals(figure),
        ]
        table.add_row(*row, *([_change(figure, earlier)] if earlier else []))
    return table


def _spreads(group: str, figures: Sequence[Figure]) -> Table:
    table = Table(title=f"{group}: samples", title_justify="left", title_style="bold")
    for name in ("figure", "on", "unit"):
        table.add_column(name)
    for name in ("samples", *_SPREAD):
        table.add_column(name, justify="right")
    for figure in figures:
        values = [_number(getattr(figure.spread, name)) for name in _SPREAD]
        samples = str(figure.spread.samples) if figure.spread else ""
        table.add_row(figure.name, figure.grid, figure.spread_unit, samples, *values)
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _goals(figure: Figure) -> str:
    return ", ".join(
        f"[green]{goal.text} ✓[/]" if figure.reaches(goal) else f"[red]{goal.text} ✗[/]"
        for goal in figure.goals
    )


def _change(figure: Figure, earlier: Earlier) -> str:
    found = earlier.get(figure.key)
    if not found or not found["value"]:
        return ""
    change = figure.value / found["value"] - 1
    text = f"{_number(found['value'])} ({change:+.0%})"
    return text if abs(change) < TIE else f"[bold]{text}"


def read(path: Path) -> Earlier:
    """Read what ``write`` wrote. Raises ``OSError``, ``ValueError``."""
    found = orjson.loads(path.read_bytes())
    return {(each["group"], each["name"], each.get("grid", "")): each for each in found["figures"]}


def as_json(figures: Iterable[Figure], options: Options) -> bytes:
    """Return the run as JSON: where and how it was measured, and all figures."""
    run = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "rounds": options.rounds,
        "quick": options.quick,
        "machine": _machine(),
        "figures": [figure.as_json() for figure in figures],
    }
    return orjson.dumps(run, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "load_average": psutil.getloadavg(),
        "python": sys.version.split()[0],
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }
