"""``neurogrid drill``: break a throw-away grid in every way, and count what it lost (design §8)."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Collection, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from neurogrid.cli import screen
from neurogrid.cli.failures import INTERRUPTED
from neurogrid.cli.options import Json
from neurogrid.core.sabotage import Protection

if TYPE_CHECKING:
    from neurogrid.drill.exercise import Progress, Watch
    from neurogrid.drill.report import Report
    from neurogrid.drill.selftest import Outcome

T = TypeVar("T")

LOST = 1
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(drill)


def drill(
    minutes: Annotated[float, typer.Option(help="How long misfortunes happen.", min=0.05)] = 3.0,
    seed: Annotated[
        int | None, typer.Option(help="Repeats the load and the schedule of a drill.", show_default="random")
    ] = None,
    gateways: Annotated[int, typer.Option(help="Gateways.", min=1)] = 2,
    nodes: Annotated[int, typer.Option(help="Nodes.", min=1)] = 3,
    rate: Annotated[float, typer.Option(help="Tasks submitted a second.", min=0.1)] = 25.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep logs and database also when nothing is lost.")
    ] = False,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test", help="Switch off one protection of the grid after the other: does it show?"
        ),
    ] = False,
    without: Annotated[
        list[Protection] | None,
        typer.Option(help="With --self-test: only this protection; may be repeated.", show_default="all"),
    ] = None,
    json: Json = False,
) -> None:
    """Bring up a throw-away grid, kill and pause its parts under load, and count what was lost.

    PostgreSQL, Valkey, gateways and nodes are real processes in a temporary directory; nothing else on the machine
    is touched. The exit code is 1 when anything at all was lost, and the logs stay.

    Examples:

        neurogrid drill --minutes 3 --seed 7

        neurogrid drill --self-test

        neurogrid drill --self-test --without fence
    """
    from neurogrid.drill.exercise import Exercise, Order

    if without and not self_test:
        msg = "it has a meaning with --self-test only"
        raise typer.BadParameter(msg, param_hint="--without")
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    with _room(seed, keep=keep) as directory, _watching() as watch:
        if self_test:
            _test_itself(directory, seed, watch, without or list(Protection), rate, json=json)
            return
        order = Order(directory, seed, minutes * 60, gateways, nodes, rate)
        report = _run(Exercise(order, watch, screen.note).run())
        if json:
            screen.print_json(report.as_json())
        else:
            _show(report, kept=keep or not report.lossless)
        if not report.lossless:
            raise typer.Exit(LOST)


@contextmanager
def _room(seed: int, *, keep: bool) -> Iterator[Path]:
    """Yield a directory that stays only if it shall be kept, or when something went wrong."""
    directory = Path(tempfile.mkdtemp(prefix="neurogrid-drill-"))
    screen.note(f"seed {seed}, logs in {directory}")
    interrupted = False
    try:
        yield directory
    except (KeyboardInterrupt, asyncio.CancelledError):
        interrupted = True
    if not keep:
        shutil.rmtree(directory)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work``; when asked to stop, let it end what it started. Raises ``CancelledError`` then."""

    async def main() -> T:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    return asyncio.run(main())


def _test_itself(
    directory: Path, seed: int, watch: Watch, only: Collection[Protection], rate: float, *, json: bool
) -> None:
    """Run the drills that have to fail, and fail where one does not."""
    from neurogrid.drill.selftest import self_test

    outcomes: list[Outcome] = []
    _run(self_test(directory, seed, watch, screen.note, outcomes.append, only, rate))
    blind = [outcome.trial.protection.value for outcome in outcomes if not outcome.noticed]
    if json:
        screen.print_json({"seed": seed, "blind": blind, "trials": [each.as_json() for each in outcomes]})
    else:
        _show_trials(outcomes)
    if blind:
        typer.echo(f"logs: {directory}", err=True)
        raise typer.Exit(LOST)


def _show_trials(outcomes: list[Outcome]) -> None:
    from neurogrid.drill.verdict import Kind

    screen.print_table(
        ["WITHOUT", "NOTICED", *(kind.value.replace("_", " ").upper() for kind in Kind)],
        [
            (
                outcome.trial.protection.value,
                "yes" if outcome.noticed else "NO",
                *(outcome.report.verdict.count(kind) for kind in Kind),
            )
            for outcome in outcomes
        ],
    )


@contextmanager
def _watching() -> Iterator[Watch]:
    """Yield what shows how far the drill is, when somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:

        def watch(progress: Progress) -> None:
            status.update(_line(progress))

        yield watch


def _line(progress: Progress) -> str:
    live = "?" if progress.live is None else progress.live
    return (
        f"{progress.phase} {progress.seconds:.0f} s  {progress.accepted}/{progress.submitted} accepted, "
        f"{live} not over, {progress.streams} streams, {progress.kills} kills, {progress.pauses} pauses"
    )


def _show(report: Report, *, kept: bool) -> None:
    figures = report.as_json()
    names = (
        "accepted",
        "finished",
        "lost",
        "finished_twice",
        "stream_gaps",
        "stuck",
        "mischarged",
        "kills",
        "pauses",
        "seed",
    )
    screen.print_table(["", ""], [(name.replace("_", " "), figures[name]) for name in names])
    for complaint in report.complaints:
        screen.note(complaint)
    for finding in report.findings[:SHOWN]:
        typer.secho(f"{finding.kind.value}: {finding.task} {finding.what}", fg="red", err=True)
    if len(report.findings) > SHOWN:
        typer.secho(f"… and {len(report.findings) - SHOWN} more", fg="red", err=True)
    if kept:
        typer.echo(f"logs: {report.logs}", err=True)
