"""Starting: seconds until ready, and what each process then holds in memory."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import grids
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.options import Options
from benchmarks.processes import Memory, free_port, running

GROUP = "start"
LIGHT = "language,sentiment"
SLOTS = 2

QUICK_START = Goal("value", 2.0, "≤ 2 s", at_most=True)
SMALL = Goal("value", 130, "≤ 130 MiB", at_most=True)

Sample = tuple[float, Memory]
"""Seconds until ready, and the memory then held."""


def measure(options: Options) -> Iterator[Figure]:
    """Measure each command, one after the other, ``rounds`` times."""
    samples: dict[str, list[Sample]] = {}

    def note(name: str, sample: Sample) -> None:
        samples.setdefault(name, []).append(sample)

    for number in range(options.size(options.rounds, 1)):
        options.note(f"{GROUP}: round {number + 1}")
        note("bare FastAPI route", _bare())
        with grids.workplace() as directory:
            note("up, first time", _up(directory, None))
            note("up, all models", _up(directory, None))
            note(f"up, {LIGHT}", _up(directory, LIGHT))
            note("up, no node", _up(directory, None, "--no-node"))
        with grids.workplace() as directory, grids.servers(directory) as servers:
            environment = grids.prepare(directory, servers)
            for name, sample in _apart(directory, environment):
                note(name, sample)
    for name, found in samples.items():
        yield from _figures(name, found)


def _bare() -> Sample:
    with grids.bare() as (process, port):
        return process.wait_until_ready(port), process.memory


def _up(directory: Path, models: str | None, *more: str) -> Sample:
    port = free_port()
    command = (*grids.up_command(directory, port, models, SLOTS), *more)
    with running("up", command, directory, {"NEUROGRID_DEBUG_MODELS": "false"}) as process:
        return process.wait_until_ready(port), process.memory


def _apart(directory: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, Sample]]:
    port = free_port()
    with running("serve", (grids.NEUROGRID, "serve", "--port", str(port)), directory, environment) as gateway:
        ready = gateway.wait_until_ready(port)
        yield "serve", (ready, gateway.memory)
        quiet = {**environment, "NEUROGRID_DEBUG_MODELS": "false"}
        # Names of their own: the lease of a node that has just left is still good.
        for name, models in (("all models", None), (LIGHT, LIGHT)):
            with grids.joined(f"node-{name}", port, directory, quiet, models, SLOTS) as node:
                seconds = asyncio.run(grids.attached(node, port, environment["NEUROGRID_API_KEY"]))
                yield f"node, {name}", (seconds, node.memory)


def _figures(name: str, samples: list[Sample]) -> Iterator[Figure]:
    gateway = name == "serve"
    seconds = [each for each, _ in samples]
    alone = [memory.alone for _, memory in samples]
    whole = [memory.with_children for _, memory in samples]
    yield Figure(
        GROUP, f"{name}: until ready", "", statistics.median(seconds), "s", best=min(seconds),
        spread=Spread.of([1000 * each for each in seconds]), goals=(QUICK_START,) if gateway else (),
    )  # fmt: skip
    yield Figure(
        GROUP, f"{name}: resident", "", statistics.median(alone), "MiB", best=min(alone),
        spread=Spread.of(alone), spread_unit="MiB", goals=(SMALL,) if gateway else (),
    )  # fmt: skip
    if whole != alone:
        yield Figure(
            GROUP, f"{name}: resident, children included", "", statistics.median(whole), "MiB", best=min(whole),
            spread=Spread.of(whole), spread_unit="MiB",
        )  # fmt: skip
