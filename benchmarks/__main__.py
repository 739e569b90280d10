"""``python -m benchmarks``: measure, print tables, and write JSON."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import fan_out, first_token, journal, redis_away, report, requests, start
from benchmarks.figures import Figure
from benchmarks.options import Options

GROUPS: dict[str, Callable[[Options], Iterator[Figure]]] = {
    group.GROUP: group.measure for group in (requests, journal, first_token, fan_out, start, redis_away)
}
ROUNDS, QUICK_ROUNDS = 5, 2
STDOUT = Path("-")


def main(
    *,
    output: Annotated[
        Path | None, typer.Option(help="Write all figures as JSON to this file; `-`: to standard output.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help=f"Groups to measure, separated by commas, of: {', '.join(GROUPS)}.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help=f"Rounds of each figure (default {ROUNDS}).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few, short rounds: less than two minutes.")] = False,
    compare: Annotated[Path | None, typer.Option(help="JSON of an earlier run to compare with.")] = None,
) -> None:
    """Measure NeuroGrid against the limits of what it is made of.

    Everything that is needed is started and stopped here, in temporary directories. NEUROGRID_BENCH_DATABASE_URL and
    NEUROGRID_BENCH_REDIS_URL name servers to use in place of private ones from wheels.
    """
    # Told to end, it still stops what it has started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console(stderr=output == STDOUT)
    if not console.is_terminal:
        console.width = report.WIDTH
    earlier = report.read(compare) if compare is not None else {}
    wanted = _groups(only)
    measured: list[Figure] = []
    with console.status("starting") as status:
        options = Options(iterations or (QUICK_ROUNDS if quick else ROUNDS), quick, status.update)
        for group in wanted:
            figures = list(GROUPS[group](options))
            report.show(console, group, figures, earlier)
            measured += figures
    if output == STDOUT:
        sys.stdout.buffer.write(report.as_json(measured, options))
    elif output is not None:
        output.write_bytes(report.as_json(measured, options))
    if any(figure.errors for figure in measured):
        raise typer.Exit(1)


def _groups(only: str | None) -> list[str]:
    wanted = [name.strip() for name in only.split(",")] if only else list(GROUPS)
    if unknown := [name for name in wanted if name not in GROUPS]:
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    return wanted


if __name__ == "__main__":
    typer.run(main)
